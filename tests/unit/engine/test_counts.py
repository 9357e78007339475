"""A node that is alone knows what its queues hold, also when the store counts them in the middle of a change."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from offload import job
from offload.core.catalog import Catalog
from offload.core.task import ALL, FileRef, Seconds, Status, Task
from offload.core.transitions import Change
from offload.engine.lessor import Wish
from offload.engine.parts import Fetching, Timing, count_queues
from offload.ports import Added, Ask, Depth, NewTask, Note, TaskStore
from offload.stores.memory import MemoryStore
from offload.stores.sqlite.store import SqliteStore
from tests.egress.test_downloads import gives
from tests.egress.zoo import Zoo, says
from tests.unit.engine.kit import Kit, Wrapped, kit
from tests.unit.engine.steps import BROKEN, noop, slow, status_is, submit
from tests.unit.engine.waiting import until

T = TypeVar("T")


@job(external=True)
def far() -> int:
    return 1


CATALOG = Catalog.of_jobs(noop, slow, far)
GONE = says(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
INPUT = b'{"a": 1}'


class CountedMeanwhile:
    """A store whose queues are counted while it is asked for a change, and again when it is made and not yet told."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.count: Callable[[], Awaitable[None]] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def add(self, new: Sequence[NewTask]) -> list[Added]:
        return await self._counted(self._store.add(new))

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        return await self._counted(self._store.apply(changes))

    async def note(self, notes: Sequence[Note]) -> list[bool]:
        return await self._counted(self._store.note(notes))

    async def claim(self, asks: Sequence[Ask], *, node: str, now: Seconds, lease_until: Seconds) -> list[Task]:
        return await self._counted(self._store.claim(asks, node=node, now=now, lease_until=lease_until))

    async def _counted(self, change: Awaitable[T]) -> T:
        if self.count is not None:
            await self.count()
        made = await change
        if self.count is not None:
            await self.count()
        return made


@asynccontextmanager
async def counted(root: Path, *, places: int = 1, sweep_seconds: Seconds = 600.0) -> AsyncIterator[Kit]:
    """Compare, at the end, what the node believes with what the store holds."""
    wrapped = Wrapped(CountedMeanwhile)
    timing, fetching = Timing(sweep_seconds=sweep_seconds), Fetching(pause_seconds=0.01)
    async with kit(root, CATALOG, places=places, wrap_store=wrapped, timing=timing, fetching=fetching) as it:
        traffic = it.engine.parts.traffic

        async def count() -> None:
            await count_queues(it.engine.parts)

        wrapped.made.count = count
        yield it
        await until(lambda: not traffic._writes)  # what is written is told
        wrapped.made.count = None
        held = await it.store.depths()
        for queue in CATALOG.queues:
            view = traffic.view(queue, paused=False, jobs=())
            there = [depth for depth in held if depth.queue == queue]
            queued, running = sum(depth.queued for depth in there), sum(depth.running for depth in there)
            assert (view.queued, view.running, view.tasks) == (queued, running, queued + running), queue
            assert view.bytes == sum(depth.bytes for depth in there), queue


async def test_what_begins_in_the_turn_in_which_it_comes_is_counted_once(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.sqlite")
    try:
        async with kit(tmp_path, CATALOG, wrap_store=lambda _: store, timing=Timing(sweep_seconds=600.0)) as it:
            for turn in range(5):
                it.engine._dispatcher.look_everywhere()  # this claim is asked for first, and told first
                task_id = await asyncio.create_task(submit(it))
                await until(lambda task_id=task_id: task_id in it.workers.running)  # type: ignore[misc]
                held = it.engine.parts.traffic.depth("default")
                assert (held.queued, held.running) == (0, 1), f"in turn {turn}"
                it.succeed(task_id)
                await until(lambda turn=turn: it.engine.stats.finished.total() == turn + 1)  # type: ignore[misc]
    finally:
        await store.close()


class SlowToCount:
    """A store whose counts are told late: they say what was when it was asked."""

    def __init__(self, store: TaskStore) -> None:
        self._store = store
        self.counted, self.may_tell = asyncio.Event(), asyncio.Event()

    async def depths(self) -> list[Depth]:
        found = await self._store.depths()
        self.counted.set()
        await self.may_tell.wait()
        return found


async def test_a_count_that_is_told_late_does_not_undo_what_came_while_others_counted_too(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG, places=0, timing=Timing(sweep_seconds=600.0)) as it:
        slow = SlowToCount(it.store)
        late = asyncio.create_task(count_queues(replace(it.engine.parts, store=slow)))  # type: ignore[arg-type]
        await slow.counted.wait()
        await submit(it)
        assert (await it.engine.queue("default")).tasks == 1
        slow.may_tell.set()
        await late
        assert it.engine.parts.traffic.waiting("default") == 1


async def _submitted(it: Kit) -> None:
    await submit(it, input=INPUT)


async def _run(it: Kit) -> None:
    await it.engine.run(ALL, await submit(it, run=False, input=INPUT))


async def _canceled(it: Kit) -> None:
    await it.engine.cancel(ALL, await submit(it, input=INPUT))


async def _deleted(it: Kit) -> None:
    await it.engine.delete(ALL, await submit(it, input=INPUT))


async def _revived(it: Kit) -> None:
    task_id = await submit(it, input=INPUT)
    await it.engine.cancel(ALL, task_id)
    await it.engine.revive(ALL, task_id)


@pytest.mark.parametrize("verb", [_submitted, _run, _canceled, _deleted, _revived])
async def test_what_clients_do_is_counted_once(tmp_path: Path, verb: Callable[[Kit], Awaitable[None]]) -> None:
    async with counted(tmp_path, places=0) as it:
        await submit(it)
        await verb(it)


async def test_what_begins_is_counted_once(tmp_path: Path) -> None:
    async with counted(tmp_path) as it:
        for _ in range(2):
            await submit(it, input=INPUT)
        await until(lambda: len(it.workers.running) == 1)


async def test_what_runs_and_ends_is_counted_once(tmp_path: Path) -> None:
    async with counted(tmp_path, places=4) as it:
        task_ids = [await submit(it, "slow", input=INPUT) for _ in range(4)]
        await until(lambda: len(it.workers.running) == 4)
        it.succeed(task_ids[0])
        await status_is(it, task_ids[0], Status.DONE)
        it.workers.end(task_ids[1], BROKEN)
        await status_is(it, task_ids[1], Status.QUEUED)
        await it.engine.cancel(ALL, task_ids[2])
        await status_is(it, task_ids[2], Status.CANCELED)


async def test_what_is_lent_and_lost_is_counted_once(tmp_path: Path) -> None:
    async with counted(tmp_path, sweep_seconds=0.02) as it:
        lent = [await submit(it, "far", input=INPUT) for _ in range(2)]
        await submit(it, "far", input=INPUT, deadline_seconds=5.0)
        assert len(await it.engine.lessor.lease(ALL, Wish(most=2), wait_seconds=5.0)) == 2
        it.clock.at += 1_000.0
        for task_id in lent:
            await status_is(it, task_id, Status.QUEUED)


async def test_files_that_are_fetched_are_counted_once(tmp_path: Path) -> None:
    async with Zoo({"/cat": gives(bytes(1_000))}).open() as zoo, counted(tmp_path) as it:
        task_id = await submit(it, files=(_named(zoo.url("/cat"), 0), _named(zoo.url("/cat"), 1)))
        await until(lambda: task_id in it.workers.running)


@pytest.mark.parametrize("second", ["/cat", "/gone"])
async def test_files_that_were_fetched_leave_with_their_task(tmp_path: Path, second: str) -> None:
    async with Zoo({"/cat": gives(bytes(1_000)), "/gone": GONE}).open() as zoo, counted(tmp_path) as it:
        task_id = await submit(it, files=(_named(zoo.url("/cat"), 0), _named(zoo.url(second), 1)))
        if second == "/cat":
            await until(lambda: task_id in it.workers.running)
            it.succeed(task_id)
        await status_is(it, task_id, Status.DONE if second == "/cat" else Status.FAILED)
        await until(lambda: not it.engine._dispatcher.held())


def _named(url: str, place: int) -> FileRef:
    return FileRef(blob=f"t/cat/in/{place}", name="", type="", size=0, field="image", url=url)
