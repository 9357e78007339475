"""A stream tells every event once, in order, from wherever its reader left off."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from offload.core.errors import TaskDoesNotExist
from offload.core.outcome import Failed
from offload.core.task import ALL, Progress, Reason, Scope, TaskError, TaskEvent
from offload.engine.hub import BEHIND_MAX
from offload.ports import Note
from tests.unit.engine.kit import Kit, kit
from tests.unit.engine.steps import CATALOG, submit
from tests.unit.engine.waiting import until


def words(kind: str, text: str) -> TaskEvent:
    return TaskEvent(kind=kind, at=1.0, attempt=1, data=msgspec.json.encode(text))  # type: ignore[arg-type]


async def read(it: Kit, task_id: str, *, after: int = 0, most: int = 10**9) -> list[TaskEvent]:
    """Read a stream to its end, or until so many events were seen."""
    seen: list[TaskEvent] = []
    async for events in it.engine.streams.follow(ALL, task_id, after=after, beat_seconds=5.0):
        seen += events
        if len(seen) >= most:
            break
    return seen[:most]


async def test_a_reader_from_the_start_and_one_from_the_end_see_the_same_events(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        live = asyncio.create_task(read(it, task_id))
        await until(lambda: task_id in it.workers.running)
        task = it.workers.running[task_id]
        for n in range(5):
            it.workers.note(Note(task=task, events=(words("output", str(n)),)))
            await asyncio.sleep(0)
        it.succeed(task_id)
        seen = await live
        assert [event.n for event in seen] == list(range(1, len(seen) + 1))
        assert [event.kind for event in seen] == ["status", "status", *["output"] * 5, "status"]
        assert await read(it, task_id) == seen
        assert await read(it, task_id, after=4) == seen[4:]
        assert await read(it, task_id, after=len(seen)) == []


async def test_a_stream_cut_at_any_point_and_resumed_has_neither_gap_nor_repeat(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        task = it.workers.running[task_id]

        async def talk() -> None:
            for n in range(200):
                it.workers.note(Note(task=task, events=(words("log", str(n)),)))
                await asyncio.sleep(0)
            it.succeed(task_id)

        talking = asyncio.create_task(talk())
        seen: list[TaskEvent] = []
        while more := await read(it, task_id, after=seen[-1].n if seen else 0, most=7):
            seen += more
        await talking
        assert [event.n for event in seen] == list(range(1, 204))
        assert seen == await it.engine.events(ALL, task_id)


async def test_a_stream_goes_on_through_retries_to_the_final_status(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        live = asyncio.create_task(read(it, task_id))
        await until(lambda: task_id in it.workers.running)
        error = TaskError(type="ValueError", message="no")
        it.workers.end(task_id, Failed(reason=Reason.ERROR, error=error, retry_after_seconds=0.0))
        await until(lambda: task_id in it.workers.running)
        it.succeed(task_id)
        told = [msgspec.json.decode(event.data)["status"] for event in await live]
        assert told == ["QUEUED", "RUNNING", "QUEUED", "RUNNING", "DONE"]


async def test_an_idle_stream_gives_signs_of_life_and_ends_when_the_node_stops(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        stream = it.engine.streams.follow(ALL, task_id, after=2, beat_seconds=0.01)
        assert await anext(stream) == []
        assert await anext(stream) == []
        it.engine.begin_stop()  # the attempt may end within the grace, and that is told
        assert await anext(stream) == []
        stopping = asyncio.create_task(it.engine.stop(0.0))
        told = [event async for events in stream for event in events]
        await stopping
        assert [event.kind for event in told] in ([], ["status"])


async def test_a_reader_that_does_not_read_is_dropped_and_the_others_are_not(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        task = it.workers.running[task_id]
        lazy = it.engine.streams.follow(ALL, task_id, after=0, beat_seconds=5.0)
        assert len(await anext(lazy)) == 2
        it.workers.note(Note(task=task, events=(words("log", "first"),)))
        assert len(await anext(lazy)) == 1
        eager = asyncio.create_task(read(it, task_id))
        for n in range(BEHIND_MAX + 10):
            it.workers.note(Note(task=task, events=(words("log", str(n)),)))
            await asyncio.sleep(0)
        it.succeed(task_id)
        assert len(await eager) == BEHIND_MAX + 14
        assert [events async for events in lazy if events] == []


async def test_one_read_serves_all_streams_of_a_task(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        task = it.workers.running[task_id]
        streams = [asyncio.create_task(read(it, task_id, after=2, most=1)) for _ in range(50)]
        await until(lambda: it.engine.parts.hub.watchers() == 50)
        reads = 0
        plain = it.store.events

        async def counted(*args: object, **given: object) -> list[TaskEvent]:
            nonlocal reads
            reads += 1
            return await plain(*args, **given)  # type: ignore[arg-type]

        it.store.events = counted  # type: ignore[method-assign]
        it.workers.note(Note(task=task, events=(words("log", "x"),)))
        assert [len(events) for events in await asyncio.gather(*streams)] == [1] * 50
        assert reads <= 4


async def test_a_task_of_another_owner_cannot_be_followed(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it, owner="ann")
        with pytest.raises(TaskDoesNotExist):
            await anext(it.engine.streams.follow(Scope(owner="bob"), task_id, after=0, beat_seconds=1.0))


async def test_progress_is_an_event_and_the_tasks_own(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        it.workers.note(Note(task=it.workers.running[task_id], progress=Progress(fraction=0.5, message="half")))
        (event,) = (await read(it, task_id, after=2, most=1),)[0]
        assert (event.kind, msgspec.json.decode(event.data)) == ("progress", {"fraction": 0.5, "message": "half"})
        assert (await it.get(task_id)).progress == Progress(fraction=0.5, message="half")
