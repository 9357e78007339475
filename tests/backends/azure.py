"""A private Azurite, which speaks the blob protocol of Azure: shared keys are checked, and nothing is kept on disk."""

import base64
import hmac
import os
import shutil
import subprocess
import urllib.request
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from socket import socket
from types import TracebackType
from typing import Self

import obstore
from obstore.store import AzureStore

from tests.backends.free_port import free_port
from tests.backends.waiting import wait_until

START_SECONDS = 60.0
ACCOUNT = "offloadtests"
KEY = base64.b64encode(b"a-key-that-only-tests-know-of-64-bytes".ljust(64, b"-")).decode()
CONTAINER = "offload-test"


class Azure:
    """One server, which a kill leaves empty. AZURITE says where `azurite-blob` is, if it is not on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def program() -> str | None:
        return os.environ.get("AZURITE") or shutil.which("azurite-blob")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def url(self) -> str:
        """Return what `--blobs` takes; the key is in `environ`."""
        return f"az://{CONTAINER}/some/prefix?account={ACCOUNT}&endpoint={self.endpoint}"

    @property
    def environ(self) -> dict[str, str]:
        return {"AZURE_STORAGE_ACCOUNT_KEY": KEY}

    def start(self) -> Self:
        program = self.program()
        assert program is not None, "there is no Azurite"
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [program, "--blobPort", str(self.port), "--inMemoryPersistence",
                   "--silent", "--disableTelemetry", "--skipApiVersionCheck"]  # fmt: skip
        environ = {**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environ, start_new_session=True)
        wait_until(self._is_ready, seconds=START_SECONDS, what="Azurite to start", log=self.folder / "log")
        self.make_bucket()
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def make_bucket(self, name: str = CONTAINER) -> None:
        """Sign it with the shared key, as the library does it for blobs."""
        told = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        lines = ["PUT", *[""] * 11, *(f"{field}:{value}" for field, value in told.items())]
        text = "\n".join([*lines, f"/{ACCOUNT}/{ACCOUNT}/{name}", "restype:container"])
        signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")).decode()
        fields = {**told, "Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
        address = f"{self.endpoint}/{name}?restype=container"
        urllib.request.urlopen(urllib.request.Request(address, method="PUT", headers=fields)).close()

    def store(self, container: str = CONTAINER, prefix: str | None = None) -> AzureStore:
        """Return a client of the library's own: what a test sees with it is not what our adapter says."""
        return AzureStore(
            container, prefix=prefix, account_name=ACCOUNT, account_key=KEY, endpoint=self.endpoint,
            client_options={"allow_http": True},
        )  # fmt: skip

    def names(self) -> list[str]:
        """Return every blob in the container."""
        return sorted(found["path"] for found in obstore.list(self.store()).collect())

    def unfinished(self) -> list[str]:
        """Return nothing: blocks that were sent and never committed are in no list, and Azure drops them in a week."""
        return []

    def _is_ready(self) -> bool:
        with closing(socket()) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
