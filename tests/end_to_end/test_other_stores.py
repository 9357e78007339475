"""The same service with its files in Google Cloud Storage and in Azure, or in what stands in for them."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from offload.blobs.opening import CacheLimits, open_blobs
from offload.clock import SteadyClock
from offload.core.errors import StoreUnavailable, WrongSetting
from offload.ports import Blobs
from tests.backends.azure import Azure
from tests.backends.gcs import Gcs, new_service_account
from tests.backends.s3 import S3
from tests.end_to_end.test_s3 import INPUTS, from_upload_to_deletion
from tests.servers import Server

DEEP = "AZURITE" in os.environ
"""`make faults` says where it is."""
PIECE = os.urandom(1024**2)
LARGE = [PIECE] * 13
"""More than is sent in one piece."""


@pytest.fixture(params=["gcs", *(["azure"] if DEEP else [])], scope="module")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs | Azure]:
    home = tmp_path_factory.mktemp("store")
    with ExitStack() as stack:
        if request.param == "azure":
            yield stack.enter_context(Azure(home / "azure"))
        else:
            yield stack.enter_context(Gcs(stack.enter_context(S3(home / "s3")), home))


@contextmanager
def service(store: Gcs | Azure, folder: Path) -> Iterator[tuple[Server, httpx2.Client]]:
    with (
        Server(INPUTS, folder / "data", "--blobs", store.url, env=store.environ) as server,
        httpx2.Client(base_url=server.url, timeout=120) as client,
    ):
        yield server, client


def test_files_are_objects_from_their_upload_to_their_deletion(store: Gcs | Azure, tmp_path: Path) -> None:
    with service(store, tmp_path) as (server, client):
        from_upload_to_deletion(store, client)
        headers = {"Content-Type": "image/png", "Prefer": "wait=60"}
        done = client.post("/v1/jobs/copy", content=iter(LARGE), headers=headers)
        assert done.status_code == 200 and done.content == b"".join(LARGE)
        assert client.delete(done.headers["location"]).json()["status"] == "DELETED"
        assert len(store.names()) == 1 and store.unfinished() == []
        if DEEP:
            is_missed_while_it_is_away(store, client)
        assert not any(secret in server.log() for secret in ("a-key-that", "PRIVATE KEY"))


def is_missed_while_it_is_away(store: Gcs | Azure, client: httpx2.Client) -> None:
    """What needs a file is refused, and not said to be gone; all else goes on, and everything when it is back."""

    def submit() -> httpx2.Response:
        return client.post("/v1/jobs/copy", files={"file": b"meow"}, headers={"Prefer": "wait=60"})

    done = submit()
    store.kill()
    refused = submit()
    assert (refused.status_code, refused.json()["code"]) == (
        503,
        "StoreUnavailable",
    ) and "retry-after" in refused.headers
    assert client.get(f"{done.headers['location']}/result").status_code == 503
    assert client.get(done.headers["location"]).json()["status"] == "DONE"
    store.start()
    again = submit()
    assert (again.status_code, again.content) == (200, b"meow")


def blobs_of(url: str, folder: Path) -> Blobs:
    return open_blobs(url, folder, CacheLimits(bytes_max=1024), os.environ, SteadyClock()).blobs


@pytest.mark.parametrize("wrong", ["bucket", "credentials", "server"])
async def test_a_store_that_cannot_be_used_is_known_at_the_start(
    store: Gcs | Azure, tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, environ, said = store.url, store.environ, ""
    if wrong == "bucket":
        url, said = url.replace("-test/", "-not-there/"), "there is no such bucket"
    elif wrong == "credentials":
        environ, said = stranger(store, tmp_path), "the store refuses the credentials of this process"
    else:
        url, said = url.replace(store.endpoint, "http://127.0.0.1:1"), "cannot be reached"
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    blobs = blobs_of(url, tmp_path)
    with pytest.raises((WrongSetting, StoreUnavailable), match=said):
        await blobs.start()
    writer = blobs.writer("f/1", bytes_max=1)
    await writer.write(b"x")
    with pytest.raises(StoreUnavailable):
        await writer.commit()


def stranger(store: Gcs | Azure, folder: Path) -> dict[str, str]:
    """Return well-made credentials of somebody else."""
    if isinstance(store, Azure):
        return {"AZURE_STORAGE_ACCOUNT_KEY": "aHVzaA=="}
    new_service_account(folder / "other.json")
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(folder / "other.json")}
