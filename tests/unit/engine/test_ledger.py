"""The ledger records what attempts say in the order in which they said it, however slow the store is."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offload.core.task import ALL, Scope, Status, Task, TaskEvent
from offload.core.transitions import Change
from offload.ports import Note
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import Kit, Wrapped, kit
from tests.unit.engine.steps import CATALOG, status_is, submit
from tests.unit.engine.waiting import until


class SlowToNote:
    """A store that takes a note only when it may."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.noting = asyncio.Event()
        self.may_note = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def note(self, notes: Sequence[Note]) -> list[bool]:
        self.noting.set()
        await self.may_note.wait()
        return await self._store.note(notes)


async def test_what_was_said_last_is_kept_when_the_end_comes_while_the_store_is_writing(tmp_path: Path) -> None:
    wrapped = Wrapped(SlowToNote)
    async with kit(tmp_path, CATALOG, wrap_store=wrapped) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        running = it.workers.running[task_id]

        def says(value: bytes) -> None:
            event = TaskEvent(kind="output", at=it.clock.now(), attempt=1, data=value)
            it.workers.note(Note(task=running, events=(event,)))

        says(b"1")
        await wrapped.made.noting.wait()
        says(b"2")  # both come while the first is being written
        it.succeed(task_id)
        wrapped.made.may_note.set()
        await status_is(it, task_id, Status.DONE)
        events = await it.engine.events(ALL, task_id)
    assert [event.data for event in events if event.kind == "output"] == [b"1", b"2"]


class Surprising:
    """A store that fails, so many times, in a way that nobody foresaw."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.failures = {"apply": 0, "get": 0}
        self.denies = False
        """Once it writes a change and says that it did not."""

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        self._maybe_fail("apply")
        written = await self._store.apply(changes)
        denies, self.denies = self.denies, False
        return [False for _ in written] if denies else written

    async def get(self, scope: Scope, task_id: str) -> Task | None:
        self._maybe_fail("get")
        return await self._store.get(scope, task_id)

    def _maybe_fail(self, name: str) -> None:
        if self.failures[name]:
            self.failures[name] -= 1
            raise RuntimeError("this cannot happen")


@asynccontextmanager
async def surprised(tmp_path: Path) -> AsyncIterator[tuple[Kit, Surprising]]:
    wrapped = Wrapped(Surprising)
    async with kit(tmp_path, CATALOG, wrap_store=wrapped) as it:
        yield it, wrapped.made


async def test_a_node_that_stops_records_what_could_not_be_recorded_in_a_way_nobody_foresaw(tmp_path: Path) -> None:
    async with surprised(tmp_path) as (it, store):
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        store.failures["apply"] = 3
        it.succeed(task_id)
        await until(lambda: store.failures["apply"] == 2)
        await it.engine.stop(60.0)
        assert store.failures["apply"] == 0
        assert (await it.get(task_id)).status is Status.DONE


async def test_a_node_whose_grace_is_over_tries_once_more_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offload.engine.ledger.PAUSE_SECONDS_MAX", 600.0)  # no try but the last comes by itself
    async with surprised(tmp_path) as (it, store):
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        store.failures["apply"] = 1_000_000
        it.succeed(task_id)
        await until(lambda: store.failures["apply"] == 999_999)
        await it.engine.stop(0.0)
        assert store.failures["apply"] == 999_998
        assert (await it.get(task_id)).status is Status.RUNNING  # its lease will end


async def test_an_end_is_not_lost_when_the_store_fails_while_it_is_asked_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offload.engine.ledger.PAUSE_SECONDS_MAX", 0.01)
    async with surprised(tmp_path) as (it, store):
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        store.denies, store.failures["get"] = True, 1
        it.succeed(task_id)
        await until(lambda: it.engine.stats.finished.total() == 1)
        assert not store.denies and store.failures["get"] == 0
        assert (await it.get(task_id)).status is Status.DONE
