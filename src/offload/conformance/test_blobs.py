"""What every blob store promises: whole and durable under a name, or not there at all."""

import asyncio
import hashlib
import os
import stat
from pathlib import Path

import pytest

from offload.conformance.places import BlobPlace, BlobsFactory, Place
from offload.core.errors import BodyTooLarge, FileDoesNotExist
from offload.ports import Blobs, BlobWriter

CHECKS = ("blobs",)
LARGE = os.urandom(2 * 1024**2 + 12_345)
SEVERAL_PARTS = os.urandom(11 * 1024**2 + 7)
"""More than an object store takes at once."""


async def write(blobs: Blobs, name: str, data: bytes, *, chunk_bytes: int = 100_000) -> tuple[int, str]:
    writer = blobs.writer(name, bytes_max=len(data))
    for start in range(0, len(data), chunk_bytes):
        await writer.write(data[start : start + chunk_bytes])
    return await writer.commit()


async def named(blobs: Blobs) -> list[str]:
    """Return what the adapter itself names, one level below the two names that tests use."""
    return sorted(
        [*await blobs.prefixes("f", older_than_seconds=-60), *await blobs.prefixes("t", older_than_seconds=-60)]
    )


async def left(place: BlobPlace) -> list[str]:
    """Return whatever is there, as far as it can be told."""
    return await named(place.blobs) if place.left is None else place.left()


async def read(blobs: Blobs, name: str, **span: int) -> bytes:
    return b"".join([piece async for piece in blobs.read(name, **span)])


@pytest.mark.parametrize("data", [b"", b"x", LARGE, SEVERAL_PARTS], ids=["nothing", "a byte", "large", "several parts"])
async def test_what_was_written_is_read_back(blobs: Blobs, data: bytes) -> None:
    await blobs.start()
    assert await write(blobs, "t/1/in/0", data) == (len(data), hashlib.sha256(data).hexdigest())
    assert await read(blobs, "t/1/in/0") == data
    assert (await blobs.local_path("t/1/in/0")).read_bytes() == data


@pytest.mark.parametrize(
    ("start", "size"),
    [(0, 1), (5, 0), (7, 300_000), (len(LARGE) - 1, 1), (len(LARGE) - 1, 9), (len(LARGE), 5), (1_000_000, None)],
)
async def test_a_part_is_read_without_the_rest(blobs: Blobs, start: int, size: int | None) -> None:
    await blobs.start()
    await write(blobs, "f/1", LARGE)
    end = len(LARGE) if size is None else start + size
    assert b"".join([piece async for piece in blobs.read("f/1", start=start, size=size)]) == LARGE[start:end]


async def test_a_blob_is_not_there_before_it_is_committed(blobs: Blobs) -> None:
    await blobs.start()
    writer = blobs.writer("f/1", bytes_max=len(LARGE))
    await writer.write(LARGE)
    with pytest.raises(FileDoesNotExist):
        await blobs.local_path("f/1")
    with pytest.raises(FileDoesNotExist):
        await read(blobs, "f/1")
    await writer.commit()
    assert await read(blobs, "f/1") == LARGE


@pytest.mark.parametrize("data", [b"x", LARGE, SEVERAL_PARTS], ids=["a byte", "large", "several parts"])
async def test_an_aborted_blob_leaves_nothing(blob_place: BlobPlace, data: bytes) -> None:
    await blob_place.blobs.start()
    writer = blob_place.blobs.writer("f/1", bytes_max=len(data))
    await writer.write(data)
    await writer.abort()
    await writer.abort()
    assert await left(blob_place) == []


@pytest.mark.parametrize("commits", [False, True], ids=["write", "commit"])
async def test_a_cancelled_write_can_be_aborted(blob_place: BlobPlace, commits: bool) -> None:
    await blob_place.blobs.start()
    writer = blob_place.blobs.writer("f/1", bytes_max=100 * len(LARGE))
    writing = asyncio.ensure_future(_write_and_commit(writer, LARGE[:1000]) if commits else writer.write(LARGE * 8))
    for _ in range(3 if commits else 1):
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    await writer.abort()
    came_to_its_end = commits and not writing.cancelled()  # before it was cancelled, on a machine that stood still
    assert writing.cancelled() or writing.exception() is None
    assert await left(blob_place) == (["f/1"] if came_to_its_end else [])


async def _write_and_commit(writer: BlobWriter, data: bytes) -> None:
    await writer.write(data)
    await writer.commit()


async def test_more_than_the_limit_is_refused(blob_place: BlobPlace) -> None:
    await blob_place.blobs.start()
    writer = blob_place.blobs.writer("f/1", bytes_max=10)
    await writer.write(b"0123456789")
    with pytest.raises(BodyTooLarge):
        await writer.write(b"x")
    await writer.abort()
    assert await left(blob_place) == []


async def test_what_a_crash_left_unfinished_never_becomes_a_blob(blob_place: BlobPlace) -> None:
    blobs = blob_place.blobs
    await blobs.start()
    await write(blobs, "f/1", b"whole")
    crashed = blobs.writer("f/2", bytes_max=len(LARGE))
    await crashed.write(LARGE)
    await blobs.start()
    with pytest.raises(FileDoesNotExist):
        await read(blobs, "f/2")
    assert await named(blobs) == ["f/1"]
    if blob_place.sweeps_at_start:
        assert await left(blob_place) == ["f/1"]
    await crashed.abort()
    assert await left(blob_place) == ["f/1"]


async def test_a_blob_is_there_for_whoever_opens_the_place_again(blobs_factory: BlobsFactory, place: Place) -> None:
    first, second = (_blobs(blobs_factory(place)) for _ in range(2))
    await first.start()
    await write(first, "f/1", LARGE)
    await second.start()
    assert await read(second, "f/1") == LARGE


def _blobs(made: Blobs | BlobPlace) -> Blobs:
    return made.blobs if isinstance(made, BlobPlace) else made


async def test_writing_a_name_again_replaces_the_blob(blobs: Blobs) -> None:
    await blobs.start()
    await write(blobs, "f/1", b"first")
    await write(blobs, "f/1", b"second")
    assert await read(blobs, "f/1") == b"second"


async def test_a_finished_file_is_moved_in(blobs: Blobs, tmp_path: Path) -> None:
    await blobs.start()
    given = tmp_path / "result.jpg"
    given.write_bytes(LARGE)
    assert await blobs.adopt("t/1/out/0", given) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert await read(blobs, "t/1/out/0") == LARGE
    assert not given.exists()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system at /dev/shm")
async def test_a_file_on_another_file_system_is_moved_in(blobs: Blobs) -> None:
    await blobs.start()
    given = Path(f"/dev/shm/offload-test-{os.getpid()}")
    given.write_bytes(b"far")
    assert await blobs.adopt("t/1/out/0", given) == (3, hashlib.sha256(b"far").hexdigest())
    assert await read(blobs, "t/1/out/0") == b"far" and not given.exists()


@pytest.mark.parametrize("link", ["symbolic", "hard"])
async def test_a_link_is_moved_in_as_a_copy_that_nobody_else_can_change(
    blobs: Blobs, tmp_path: Path, link: str
) -> None:
    await blobs.start()
    original, given = tmp_path / "original", tmp_path / "given"
    original.write_bytes(b"before")
    (given.symlink_to if link == "symbolic" else given.hardlink_to)(original)
    await blobs.adopt("t/1/out/0", given)
    original.write_bytes(b"after!")
    assert await read(blobs, "t/1/out/0") == b"before" and not given.exists()


async def test_a_copy_outlives_its_source(blobs: Blobs) -> None:
    await blobs.start()
    await write(blobs, "f/1", LARGE)
    await blobs.copy("f/1", "t/1/in/0")
    await blobs.copy("f/1", "t/1/in/0")
    await blobs.delete("f/1")
    assert await read(blobs, "t/1/in/0") == LARGE


async def test_copying_what_is_not_there_says_so(blobs: Blobs) -> None:
    await blobs.start()
    with pytest.raises(FileDoesNotExist):
        await blobs.copy("f/1", "t/1/in/0")


async def test_deleting_takes_all_below_a_prefix_and_nothing_beside_it(blobs: Blobs) -> None:
    await blobs.start()
    for name in ("t/1/in/0", "t/1/out/0", "t/10/in/0", "f/1"):
        await write(blobs, name, b"x")
    await blobs.delete("t/1")
    for name in ("t/1/in/0", "t/1/out/0"):
        with pytest.raises(FileDoesNotExist):
            await blobs.local_path(name)
    for prefix in ("t/1", "t/never"):
        await blobs.delete(prefix)
    assert await read(blobs, "t/10/in/0") == await read(blobs, "f/1") == b"x"
    await blobs.delete("f/1")
    with pytest.raises(FileDoesNotExist):
        await read(blobs, "f/1")


async def test_prefixes_that_nothing_has_touched_for_long_are_named(blob_place: BlobPlace) -> None:
    blobs = blob_place.blobs
    await blobs.start()
    assert await blobs.prefixes("t", older_than_seconds=60) == []
    for name in ("t/old/in/0", "t/new/in/0", "t/touched/in/0", "f/old"):
        await write(blobs, name, b"x")
    assert sorted(await blobs.prefixes("t", older_than_seconds=-60)) == ["t/new", "t/old", "t/touched"]
    assert await blobs.prefixes("t", older_than_seconds=60) == []
    if blob_place.age is not None:
        for prefix in ("t/old", "t/touched", "f/old"):
            blob_place.age(prefix)
        await write(blobs, "t/touched/out/0", b"x")
        assert await blobs.prefixes("t", older_than_seconds=60) == ["t/old"]
        assert await blobs.prefixes("f", older_than_seconds=60) == ["f/old"]


async def test_what_was_touched_lately_stays_when_only_what_is_old_is_deleted(blob_place: BlobPlace) -> None:
    blobs = blob_place.blobs
    await blobs.start()
    for name in ("t/1/in/a/0", "t/1/out/0", "t/10/in/0", "f/1"):
        await write(blobs, name, b"x")
    if blob_place.age is not None:
        for prefix in ("t/1", "t/10", "f/1"):
            blob_place.age(prefix)
    await blobs.copy("f/1", "t/1/in/b/0")  # new, although what it was made from is old
    await blobs.delete("t/1", older_than_seconds=60)
    assert await read(blobs, "t/1/in/b/0") == await read(blobs, "t/10/in/0") == b"x"
    if blob_place.age is not None:
        for name in ("t/1/in/a/0", "t/1/out/0"):
            with pytest.raises(FileDoesNotExist):
                await blobs.local_path(name)
    for prefix in ("t/1", "f/1", "t/never"):
        await blobs.delete(prefix, older_than_seconds=-60)
    for name in ("t/1/in/a/0", "t/1/in/b/0", "f/1"):
        with pytest.raises(FileDoesNotExist):
            await read(blobs, name)
    assert await read(blobs, "t/10/in/0") == b"x"


async def test_what_is_written_while_its_prefix_is_swept_is_there(blobs: Blobs) -> None:
    await blobs.start()
    for number in range(10):
        sweeps = [blobs.delete(f"t/{number}", older_than_seconds=60) for _ in range(3)]
        await asyncio.gather(write(blobs, f"t/{number}/in/0", b"x"), *sweeps)
        assert await read(blobs, f"t/{number}/in/0") == b"x"


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "t/../x", "t//x", "t/.", "t/a\0", "t/ä", "tmp/x", ".x", "a/" * 600]
)
async def test_a_name_that_could_lead_elsewhere_is_refused(blobs: Blobs, name: str) -> None:
    await blobs.start()
    with pytest.raises(ValueError):
        blobs.writer(name, bytes_max=1)
    with pytest.raises(ValueError):
        await blobs.local_path(name)
    with pytest.raises(ValueError):
        await blobs.delete(name)


async def test_only_the_owner_of_the_process_can_read_blobs(blobs: Blobs, place: Place, tmp_path: Path) -> None:
    os.umask(mask := os.umask(0))
    os.umask(0)
    try:
        await blobs.start()
        await write(blobs, "t/1/in/0", b"x")
        (tmp_path / "given").write_bytes(b"x")
        await blobs.adopt("t/1/out/0", tmp_path / "given")
        await blobs.local_path("t/1/in/0")
    finally:
        os.umask(mask)
    for path in place.folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


async def test_the_room_left_is_told_where_it_is_known(blobs: Blobs) -> None:
    await blobs.start()
    free = await blobs.free_bytes()
    assert free is None or free > 0


async def test_a_path_can_be_read_until_it_is_released_and_again_after_that(blobs: Blobs) -> None:
    await blobs.start()
    await write(blobs, "t/1/in/0", LARGE)
    first, second = await asyncio.gather(blobs.local_path("t/1/in/0"), blobs.local_path("t/1/in/0"))
    assert first == second and first.read_bytes() == LARGE
    blobs.release("t/1", again=True)
    assert first.read_bytes() == LARGE
    blobs.release("t/1", again=False)
    blobs.release("t/1", again=False)
    assert (await blobs.local_path("t/1/in/0")).read_bytes() == LARGE
