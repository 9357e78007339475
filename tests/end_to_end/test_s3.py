"""The same service with its files in an object store: the same answers, flat memory, nothing left behind."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import obstore
import pytest

from tests.backends.azure import Azure
from tests.backends.gcs import Gcs
from tests.backends.s3 import S3
from tests.backends.waiting import wait_until
from tests.end_to_end.test_big_files import PIECE, Peak, warm
from tests.servers import Server

JOBS = Path(__file__).parent / "big_jobs.py"
INPUTS = Path(__file__).parent / "input_jobs.py"
PIECES = 160
GROWTH_BYTES_MAX = 64 << 20
"""Parts on their way and what the library keeps of them; a file of any size takes no more."""


@contextmanager
def service(folder: Path, jobs: Path = INPUTS, *flags: str) -> Iterator[tuple[S3, Server, httpx2.Client]]:
    with (
        S3(folder / "s3") as s3,
        Server(jobs, folder / "data", "--blobs", s3.url, *flags, env=s3.environ) as server,
        httpx2.Client(base_url=server.url, timeout=120) as client,
    ):
        yield s3, server, client


def test_files_are_objects_from_their_upload_to_their_deletion(tmp_path: Path) -> None:
    with service(tmp_path) as (s3, server, client):
        from_upload_to_deletion(s3, client)
        assert s3.unfinished() == [] and "a-secret" not in server.log()


def from_upload_to_deletion(store: S3 | Gcs | Azure, client: httpx2.Client) -> None:
    """Let a file live in whatever store, and look there past the server."""
    stored = client.post("/v1/files?name=cat.txt", content=b"meow").json()
    done = client.post("/v1/jobs/copy", json={"file": f"file:{stored['id']}"}, headers={"Prefer": "wait=60"})
    assert (done.status_code, done.content) == (200, b"meow")
    assert done.headers["content-disposition"] == 'inline; filename="cat.txt"'
    path = done.headers["location"]
    part = client.get(f"{path}/result", headers={"Range": "bytes=1-2"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"eo", "bytes 1-2/4")
    assert client.get(f"{path}/input/file").content == b"meow"
    task_id = path.rpartition("/")[2]
    below = "some/prefix"
    kept = [f"{below}/f/{stored['id']}", f"{below}/t/{task_id}/in/0", f"{below}/t/{task_id}/out/1"]
    assert store.names() == kept
    assert client.delete(path).json()["status"] == "DELETED"
    assert store.names() == [f"{below}/f/{stored['id']}"]


def test_what_is_kept_no_longer_is_deleted_from_the_store(tmp_path: Path) -> None:
    flags = ("--payload-seconds", "0.1", "--file-seconds", "0.1", "--sweep-seconds", "0.1")
    with service(tmp_path, INPUTS, *flags) as (s3, _, client):
        client.post("/v1/files?name=cat.txt", content=b"meow")
        done = client.post("/v1/jobs/copy", files={"file": b"meow"}, headers={"Prefer": "wait=60"})
        assert done.status_code in (200, 410)
        wait_until(lambda: not s3.names(), seconds=60, what="every object to be deleted")


def test_large_files_go_through_a_server_whose_memory_does_not_grow_with_them(tmp_path: Path) -> None:
    with service(tmp_path, JOBS) as (s3, server, client):
        warm(server)
        peak = Peak(server)
        body = (PIECE for _ in range(PIECES))
        header = {"Content-Type": "application/octet-stream", "Prefer": "wait=60"}
        done = client.post("/v1/jobs/digest", content=body, headers=header)
        assert done.status_code == 200 and done.json()["size"] == PIECES * len(PIECE), done.text
        assert peak.growth_bytes() < GROWTH_BYTES_MAX
        peak = Peak(server)
        with client.stream(
            "POST", "/v1/jobs/counted", json={"pieces": PIECES}, headers={"Prefer": "wait=60"}
        ) as answer:
            assert answer.status_code == 200
            assert sum(map(len, answer.iter_bytes())) == PIECES * len(PIECE)
        assert peak.growth_bytes() < GROWTH_BYTES_MAX
        assert s3.unfinished() == []


def test_an_upload_whose_client_hangs_up_leaves_nothing(tmp_path: Path) -> None:
    with service(tmp_path, JOBS) as (s3, _, client):

        def breaks_off() -> Iterator[bytes]:
            for _ in range(12):
                yield PIECE
            raise ConnectionError

        with pytest.raises(ConnectionError):
            client.post("/v1/jobs/digest", content=breaks_off(), headers={"Content-Type": "image/png"})
        wait_until(lambda: not s3.unfinished() and not s3.names(), seconds=60, what="the upload to be taken back")


def serve(folder: Path, url: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "offload", "serve", str(INPUTS), "--port", "0", "--data", str(folder / "data")]
    return subprocess.run(
        [*command, "--blobs", url], env={"PATH": "", "PYTHONPATH": ":".join(sys.path), **environ}, text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("wrong", ["bucket", "credentials", "server"])
def test_a_store_that_cannot_be_used_is_known_at_the_start(tmp_path: Path, wrong: str) -> None:
    with S3(tmp_path / "s3") as s3:
        url, environ = s3.url, s3.environ
        if wrong == "bucket":
            url = url.replace("offload-test", "not-there")
        elif wrong == "credentials":
            environ = {**environ, "AWS_SECRET_ACCESS_KEY": "hush"}
        else:
            s3.kill()
        ended = serve(tmp_path, url, environ)
    said = {
        "bucket": "s3://not-there/some/prefix: there is no such bucket",
        "credentials": "the store refuses the credentials of this process",
        "server": "s3://offload-test/some/prefix cannot be reached",
    }[wrong]
    assert ended.returncode != 0 and said in ended.stderr, ended.stderr
    assert "hush" not in ended.stderr and "Traceback" not in ended.stderr and ended.stdout == ""


def test_a_blob_that_somebody_deleted_is_told_as_gone(tmp_path: Path) -> None:
    with service(tmp_path) as (s3, _, client):
        done = client.post("/v1/jobs/copy", files={"file": b"meow"}, headers={"Prefer": "wait=60"})
        obstore.delete(s3.store(), s3.names())
        assert client.get(f"{done.headers['location']}/result").status_code == 410
