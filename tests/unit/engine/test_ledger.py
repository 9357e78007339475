"""The ledger records what attempts say in the order in which they said it, however slow the store is."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from offload.core.task import ALL, Status, TaskEvent
from offload.ports import Note
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import kit
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
    stores: list[SlowToNote] = []

    def wrap(memory: MemoryStore) -> SlowToNote:
        stores.append(SlowToNote(memory))
        return stores[0]

    async with kit(tmp_path, CATALOG, wrap_store=wrap) as it:  # type: ignore[arg-type]
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        running = it.workers.running[task_id]

        def says(value: bytes) -> None:
            event = TaskEvent(kind="output", at=it.clock.now(), attempt=1, data=value)
            it.workers.note(Note(task=running, events=(event,)))

        says(b"1")
        await stores[0].noting.wait()
        says(b"2")  # both come while the first is being written
        it.succeed(task_id)
        stores[0].may_note.set()
        await status_is(it, task_id, Status.DONE)
        events = await it.engine.events(ALL, task_id)
    assert [event.data for event in events if event.kind == "output"] == [b"1", b"2"]
