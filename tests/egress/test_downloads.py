"""URL inputs through the door: what arrives is whole and bounded, or says why not and whether to try again."""

import gzip
import os
import zlib
from pathlib import Path

import pytest

from offload.core.errors import (
    BodyTooLarge,
    EgressFailed,
    ExchangeFailed,
    SourceUnavailable,
    StoreUnavailable,
    Unreachable,
)
from offload.egress import Door
from offload.egress.limits import Limits
from offload.ports import Fetched
from tests.egress.zoo import QUICK, Behaviour, Visit, Zoo, blobs, drips, floods, redirects, reset, says, stay

DATA = os.urandom(300_000)
TAG = 'ETag: "one"'


async def fetch(
    url: str, root: Path, *, bytes_max: int = 1_000_000, seconds_max: float = 20.0,
    headers: dict[str, str] | None = None, limits: Limits = QUICK,
) -> tuple[Fetched, bytes]:  # fmt: skip
    async with blobs(root) as store:
        writer = store.writer("it", bytes_max=10 * bytes_max)
        try:
            door = Door(allow=["127.0.0.1"], limits=limits)
            found = await door.fetch(url, writer, bytes_max=bytes_max, seconds_max=seconds_max, headers=headers)
            await writer.commit()
            return found, (root / "it").read_bytes()
        finally:
            await writer.abort()


def gives(data: bytes, *headers: str) -> Behaviour:
    async def behave(visit: Visit) -> None:
        await visit.answer("200 OK", data, *headers)

    return behave


class Breaking:
    """Serve DATA with Range, and break off after so many bytes the first `breaks` times."""

    def __init__(self, *headers: str, breaks: int = 3, after: int = 70_000, then: str = "206 Partial Content") -> None:
        self.headers, self.breaks, self.after, self.then = headers, breaks, after, then
        self.shift = 0

    async def __call__(self, visit: Visit) -> None:
        start = int(visit.headers.get("range", "bytes=0-")[6:-1])
        lines = [f"Content-Length: {len(DATA) - start}", *self.headers]
        if start:
            lines.append(f"Content-Range: bytes {start + self.shift}-{len(DATA) - 1}/{len(DATA)}")
        await visit.say("\r\n".join([f"HTTP/1.1 {self.then if start else '200 OK'}", *lines, "", ""]).encode())
        self.breaks -= 1
        await visit.say(DATA[start : start + self.after] if self.breaks >= 0 else DATA[start:])


async def test_a_file_arrives_with_its_name_and_type(tmp_path: Path) -> None:
    disposition = 'Content-Disposition: attachment; filename="../cat.jpg"'
    async with Zoo({"/x": gives(DATA, "Content-Type: image/jpeg; q=1", disposition)}).open() as zoo:
        found, data = await fetch(zoo.url("/x?signature=%2F+a"), tmp_path)
        assert data == DATA and found == Fetched(name="cat.jpg", type="image/jpeg", size=len(DATA))
        assert zoo.paths() == ["/x?signature=%2F+a"]


async def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    async with Zoo({"/a/empty.txt": gives(b"")}).open() as zoo:
        found, data = await fetch(zoo.url("/a/empty.txt"), tmp_path)
        assert data == b"" and found == Fetched(name="empty.txt", type="text/plain", size=0)


@pytest.mark.parametrize(
    ("status", "temporary"),
    [(400, False), (401, False), (403, False), (404, False), (410, False), (304, False), (300, False), (206, False),
     (204, False), (408, True), (425, True), (429, True), (500, True), (502, True), (503, True)],
)  # fmt: skip
async def test_a_status_says_whether_to_try_again(tmp_path: Path, status: int, temporary: bool) -> None:
    answer = says(f"HTTP/1.1 {status} X\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n".encode())
    async with Zoo({"/x": answer}).open() as zoo:
        with pytest.raises(SourceUnavailable) as raised:
            await fetch(zoo.url("/x"), tmp_path)
        assert raised.value.temporary is temporary and raised.value.retry_seconds == 9
        assert len(zoo.visits) == 1 and str(status) in str(raised.value)


async def test_three_redirects_are_followed_and_a_fourth_is_not(tmp_path: Path) -> None:
    steps = {
        "/1": redirects("2"),
        "/2": redirects("/3", 301),
        "/3": redirects("//127.0.0.1/4", 307),
        "/4": redirects("/5"),
    }
    async with Zoo({}).open() as zoo:
        zoo._behaviours.update(steps, **{"/3": redirects(f"//127.0.0.1:{zoo.port}/4", 307), "/5": gives(b"five")})
        assert (await fetch(zoo.url("/2"), tmp_path))[1] == b"five"
        zoo.visits.clear()
        with pytest.raises(SourceUnavailable) as raised:
            await fetch(zoo.url("/1"), tmp_path)
        assert not raised.value.temporary and zoo.paths() == ["/1", "/2", "/3", "/4"]


async def test_a_redirect_to_a_closed_place_looks_like_any_place_that_is_not_there(tmp_path: Path) -> None:
    async with Zoo({"/x": redirects("http://169.254.169.254/latest/")}).open() as zoo:
        with pytest.raises(Unreachable) as raised:
            await fetch(zoo.url("/x"), tmp_path)
        assert raised.value.temporary


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://u@127.0.0.1/", "http://127.1/", "a b"]
)
async def test_a_redirect_to_no_usable_url_is_the_end(tmp_path: Path, location: str) -> None:
    async with Zoo({"/x": redirects(location)}).open() as zoo:
        with pytest.raises(SourceUnavailable) as raised:
            await fetch(zoo.url("/x"), tmp_path)
        assert not raised.value.temporary


async def test_credentials_stay_with_the_origin_that_they_are_for(tmp_path: Path) -> None:
    async with Zoo({"/b": gives(b"b")}).open() as other:
        async with Zoo({"/2": redirects(other.url("/b")), "/1": redirects("/2")}).open() as zoo:
            await fetch(zoo.url("/1"), tmp_path, headers={"Authorization": "Bearer x"})
            assert [visit.headers.get("authorization") for visit in zoo.visits] == ["Bearer x"] * 2
            assert "authorization" not in other.visits[0].headers


@pytest.mark.parametrize(
    "behaviour",
    [
        gives(DATA),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", then_close=False),
        floods(b"HTTP/1.1 200 OK\r\n\r\n", DATA),
        floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"8\r\nxxxxxxxx\r\n" * 999),
        gives(gzip.compress(bytes(100_000_000)), "Content-Encoding: gzip"),
        gives(gzip.compress(gzip.compress(bytes(1_000_000))) * 2000, "Content-Encoding: gzip"),
    ],
    ids=["by length", "by a lie", "endless", "endless chunks", "bomb", "bomb of many members"],
)
async def test_too_much_is_refused(tmp_path: Path, behaviour: Behaviour) -> None:
    async with Zoo({"/x": behaviour}).open() as zoo:
        with pytest.raises((BodyTooLarge, ExchangeFailed)):
            await fetch(zoo.url("/x"), tmp_path, bytes_max=100_000)
        assert not (tmp_path / "it").exists()
        assert not [path for path in (tmp_path / "tmp").rglob("*") if path.is_file() and path.stat().st_size]


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(DATA)),
        ("X-GZIP", gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]) + bytes(512)),
        ("deflate", zlib.compress(DATA)),
        ("deflate", zlib.compress(DATA, wbits=-15)),
        ("deflate", zlib.compress(bytes(900_000), wbits=-15)),
        ("identity", DATA),
    ],
)
async def test_what_was_packed_for_the_way_is_unpacked(tmp_path: Path, encoding: str, packed: bytes) -> None:
    async with Zoo({"/x": gives(packed, f"Content-Encoding: {encoding}", TAG)}).open() as zoo:
        found, data = await fetch(zoo.url("/x"), tmp_path)
        assert data in (DATA, bytes(900_000)) and found.size == len(data)


async def test_packing_that_was_not_asked_for_and_is_not_known_is_the_end(tmp_path: Path) -> None:
    async with Zoo({"/x": gives(DATA, "Content-Encoding: br")}).open() as zoo:
        with pytest.raises(SourceUnavailable) as raised:
            await fetch(zoo.url("/x"), tmp_path)
        assert not raised.value.temporary


@pytest.mark.parametrize(
    "behaviour",
    [
        stay,
        reset,
        says(),
        drips(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100, pause_seconds=0.05),
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", b"x" * 100, pause_seconds=0.05),
        drips(b"HTTP/1.1 200 OK\r\nX: ", b"x", pause_seconds=0.05),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"),
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"),
        gives(b"not gzip at all", "Content-Encoding: gzip"),
        gives(gzip.compress(DATA)[:-9], "Content-Encoding: gzip"),
        gives(DATA, "Content-Encoding: deflate"),
        gives(gzip.compress(b"") * 2000, "Content-Encoding: gzip"),
    ],
    ids=["silent", "resets", "closes", "drips", "drips with length", "drips a header", "wrong length", "no last chunk",
         "not gzip", "cut gzip", "not deflate", "many members"],
)  # fmt: skip
async def test_a_source_that_breaks_off_may_be_tried_again(tmp_path: Path, behaviour: Behaviour) -> None:
    async with Zoo({"/x": behaviour}).open() as zoo:
        with pytest.raises(ExchangeFailed) as raised:
            await fetch(zoo.url("/x"), tmp_path, seconds_max=3600.0)
        assert raised.value.temporary and not (tmp_path / "it").exists()
        assert len(zoo.visits) == 1, "without a validator there is nothing to go on with"


async def test_a_fault_of_our_own_disk_is_not_blamed_on_the_source(tmp_path: Path) -> None:
    class Broken:
        async def write(self, chunk: bytes) -> None:
            raise OSError("no such device")

        async def commit(self) -> tuple[int, str]:
            raise AssertionError

        async def abort(self) -> None: ...

    async with Zoo({"/x": gives(DATA, TAG)}).open() as zoo:
        with pytest.raises(StoreUnavailable, match="no such device"):
            await Door(allow=["127.0.0.1"]).fetch(zoo.url("/x"), Broken(), bytes_max=10**6, seconds_max=20.0)
        assert len(zoo.visits) == 1


async def test_the_whole_time_is_bounded_however_well_it_flows(tmp_path: Path) -> None:
    flow = drips(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 5000, pause_seconds=0.02)
    async with Zoo({"/x": flow}).open() as zoo:
        with pytest.raises(ExchangeFailed, match="too long"):
            await fetch(zoo.url("/x"), tmp_path, bytes_max=10**9, seconds_max=2.0)


@pytest.mark.parametrize(
    ("headers", "proof"),
    [
        ((TAG,), '"one"'),
        (
            ("Last-Modified: Sat, 21 Nov 2026 08:00:00 GMT", "Date: Sat, 21 Nov 2026 09:00:00 GMT"),
            "Sat, 21 Nov 2026 08:00:00 GMT",
        ),
    ],
)
async def test_a_broken_download_goes_on_where_it_broke(tmp_path: Path, headers: tuple[str, ...], proof: str) -> None:
    async with Zoo({"/x": Breaking(*headers)}).open() as zoo:
        found, data = await fetch(zoo.url("/x"), tmp_path)
        assert data == DATA and found.size == len(DATA)
        assert "range" not in zoo.visits[0].headers
        assert [visit.headers.get("if-range") for visit in zoo.visits] == [None, proof, proof, proof]
        starts = [int(visit.headers["range"][6:-1]) for visit in zoo.visits[1:]]
        assert starts == sorted(starts) and 0 < starts[0] <= 70_000


@pytest.mark.parametrize("headers", [(), ('ETag: W/"one"',), (TAG, "Accept-Ranges: none")])
async def test_without_proof_of_sameness_it_does_not_go_on(tmp_path: Path, headers: tuple[str, ...]) -> None:
    async with Zoo({"/x": Breaking(*headers)}).open() as zoo:
        with pytest.raises(ExchangeFailed):
            await fetch(zoo.url("/x"), tmp_path)
        assert len(zoo.visits) == 1


async def changed(visit: Visit) -> None:
    if "range" in visit.headers:
        await visit.answer("200 OK", b"another file", 'ETag: "two"')
    else:
        await Breaking(TAG)(visit)


async def lies(visit: Visit) -> None:
    breaking = Breaking(TAG)
    breaking.shift = 1
    await breaking(visit)


async def other_tag(visit: Visit) -> None:
    await Breaking(TAG if "range" not in visit.headers else 'ETag: "two"')(visit)


@pytest.mark.parametrize("behaviour", [changed, lies, other_tag, Breaking(TAG, then="416 Range Not Satisfiable")])
async def test_a_file_that_changed_midway_is_never_patched_together(tmp_path: Path, behaviour: Behaviour) -> None:
    async with Zoo({"/x": behaviour}).open() as zoo:
        with pytest.raises(SourceUnavailable, match="changed") as raised:
            await fetch(zoo.url("/x"), tmp_path)
        assert raised.value.temporary and not (tmp_path / "it").exists()


async def test_it_goes_on_only_so_often(tmp_path: Path) -> None:
    async with Zoo({"/x": Breaking(TAG, breaks=99, after=1000)}).open() as zoo:
        with pytest.raises(EgressFailed) as raised:
            await fetch(zoo.url("/x"), tmp_path)
        assert raised.value.temporary and len(zoo.visits) == 1 + QUICK.resumes_max
