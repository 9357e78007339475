"""Copies of remote files: made once, bounded, never dropped under a reader, and one process's own."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from offload.blobs.cache import Cache, Source
from offload.core.errors import DiskFull


class Far:
    """A source that counts how often it was asked."""

    def __init__(self, data: bytes = b"x" * 100, fails: Exception | None = None) -> None:
        self.data, self.fails, self.asked = data, fails, 0

    def __call__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        self.asked += 1
        yield self.data[:10]
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        yield self.data[10:]


async def cache(folder: Path, *, bytes_max: int = 1000, idle_seconds_max: float = 1000.0) -> Cache:
    made = Cache(folder, bytes_max=bytes_max, idle_seconds_max=idle_seconds_max)
    await made.start()
    return made


async def test_many_who_want_the_same_file_bring_it_once(tmp_path: Path) -> None:
    it, far = await cache(tmp_path), Far()
    paths = await asyncio.gather(*(it.path("t/1/in/0", far) for _ in range(5)))
    assert len(set(paths)) == 1 and far.asked == 1 and paths[0].read_bytes() == far.data


async def test_the_least_recently_read_goes_first_and_what_is_read_never(tmp_path: Path) -> None:
    it, source = await cache(tmp_path, bytes_max=250), Far()
    first, second = await it.path("t/1/in/0", source), await it.path("t/2/in/0", source)
    it.release("t/2", again=True)
    third = await it.path("t/3/in/0", source)
    assert first.exists() and not second.exists() and third.exists()
    await it.path("t/4/in/0", source)  # all are read: too much is better than a task that cannot run
    assert first.exists() and third.exists() and it.bytes == 300
    it.release("t/1", again=True)
    assert not first.exists() and not first.parent.parent.exists() and it.bytes == 200


async def test_a_file_that_two_attempts_read_stays_until_both_have_let_go(tmp_path: Path) -> None:
    it, source = await cache(tmp_path, bytes_max=100), Far()
    path = await it.path("t/1/in/0", source)
    await it.path("t/1/in/0", source)
    it.release("t/1", again=True)
    await it.path("t/2/in/0", source)
    assert path.exists()
    it.release("t/1", again=True)
    assert not path.exists()


async def test_what_nobody_asked_for_in_a_long_time_goes(tmp_path: Path) -> None:
    it, source = await cache(tmp_path, idle_seconds_max=0.0), Far()
    path = await it.path("t/1/in/0", source)
    it.release("t/1", again=True)
    while path.exists():
        await asyncio.sleep(0.005)


async def test_a_copy_that_broke_off_leaves_nothing_and_is_made_anew(tmp_path: Path) -> None:
    it = await cache(tmp_path)
    with pytest.raises(ConnectionError):
        await it.path("t/1/in/0", Far(fails=ConnectionError()))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    assert (await it.path("t/1/in/0", Far(b"y" * 20))).read_bytes() == b"y" * 20


async def test_a_full_disk_is_told_as_such_and_the_copies_of_nobody_go(tmp_path: Path) -> None:
    it = await cache(tmp_path)
    spare = await it.path("t/1/in/0", Far())
    it.release("t/1", again=True)
    with pytest.raises(DiskFull):
        await it.path("t/2/in/0", Far(fails=OSError(errno.ENOSPC, "full")))
    assert not spare.exists()


async def test_a_waiter_that_gives_up_does_not_stop_the_others(tmp_path: Path) -> None:
    it, going = await cache(tmp_path), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"ab"
        await going.wait()
        yield b"cd"

    source: Source = slow
    first, second = (asyncio.ensure_future(it.path("t/1/in/0", source)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    going.set()
    assert (await second).read_bytes() == b"abcd"
    it.delete("t/1")
    assert it.bytes == 0


async def test_each_process_has_a_place_of_its_own_that_begins_empty(tmp_path: Path) -> None:
    first, second = await cache(tmp_path), await cache(tmp_path)
    one, other = await first.path("t/1/in/0", Far()), await second.path("t/1/in/0", Far())
    assert one != other
    await first.start()  # as the next process would: what a crash left may not be whole
    assert not one.exists() and other.exists()


async def test_what_no_attempt_will_read_again_goes_at_once_unless_somebody_reads_it(tmp_path: Path) -> None:
    it, source = await cache(tmp_path), Far()
    path = await it.path("t/1/in/0", source)
    await it.path("t/1/in/0", source)
    it.release("t/1", again=False)
    assert path.exists()
    it.release("t/1", again=False)
    assert not path.exists() and it.bytes == 0
