"""Whoever watches a task hears of its end, also when the store cannot be read in that moment, and leaves no trace."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offload.core.errors import StoreUnavailable
from offload.core.task import ALL, Scope, Status, Task, TaskEvent
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import Kit, Wrapped, kit
from tests.unit.engine.steps import CATALOG, submit
from tests.unit.engine.waiting import until


class Unreadable:
    """A store whose next reads fail."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.troubles: list[Exception] = []
        self.caught_up = 0
        """How often there was nothing more to read."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def get(self, scope: Scope, task_id: str) -> Task | None:
        if self.troubles:
            raise self.troubles.pop()
        return await self._store.get(scope, task_id)

    async def events(self, scope: Scope, task_id: str, *, after: int = 0, limit: int = 1000) -> list[TaskEvent]:
        if self.troubles:
            raise self.troubles.pop()
        found = await self._store.events(scope, task_id, after=after, limit=limit)
        self.caught_up += not found
        return found


@asynccontextmanager
async def watched(tmp_path: Path) -> AsyncIterator[tuple[Kit, Unreadable, str]]:
    """Have a task that runs, in a store that can be made to fail."""
    wrapped = Wrapped(Unreadable)
    async with kit(tmp_path, CATALOG, wrap_store=wrapped) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        yield it, wrapped.made, task_id


@pytest.mark.parametrize("trouble", [StoreUnavailable("away"), RuntimeError("no thread can be started")])
async def test_who_waits_hears_of_an_end_that_could_not_be_read_at_once(tmp_path: Path, trouble: Exception) -> None:
    async with watched(tmp_path) as (it, store, task_id):
        waiting = asyncio.ensure_future(it.engine.wait(ALL, task_id, 60.0))
        await until(lambda: it.engine.parts.hub.watchers() == 1)
        store.troubles = [trouble] * 2
        it.succeed(task_id)
        async with asyncio.timeout(10):
            assert (await waiting).status is Status.DONE


async def test_a_stream_tells_of_an_end_that_could_not_be_read_at_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as (it, store, task_id):
        stream = it.engine.streams.follow(ALL, task_id, after=0, beat_seconds=60.0)
        told = await anext(stream)
        ending = asyncio.ensure_future(anext(stream))
        await until(lambda: store.caught_up == 2)  # the stream, and the hub that feeds it
        store.troubles = [StoreUnavailable("away")]
        it.succeed(task_id)
        async with asyncio.timeout(10):
            assert [event.n for event in await ending] == [len(told) + 1]
        await stream.aclose()  # type: ignore[attr-defined]


async def test_a_wait_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    async with watched(tmp_path) as (it, _, task_id):
        before = asyncio.all_tasks()
        waiting = asyncio.ensure_future(it.engine.wait(ALL, task_id, 60.0))
        await until(lambda: it.engine.parts.hub.watchers() == 1)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        await until(lambda: asyncio.all_tasks() <= before, seconds=5.0)
