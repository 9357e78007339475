"""A request that is given up at any point: what was written all the same is told to everybody whom it concerns."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from offload.core.task import ALL, Status
from offload.engine.engine import Engine
from offload.engine.parts import Timing
from offload.stores.sqlite.store import SqliteStore
from tests.unit.engine.kit import Kit, kit
from tests.unit.engine.steps import CATALOG, submit
from tests.unit.engine.waiting import until

TURNS = 8
"""Of the loop, in which a request gets from its first step to its last."""

Verb = Callable[[Engine, str], Awaitable[object]]


async def _read(it: Kit, task_id: str, after: int, seen: list[int]) -> None:
    async for events in it.engine.streams.follow(ALL, task_id, after=after, beat_seconds=60.0):
        seen += [event.n for event in events]


async def _seen_up_to(newest: int, seen: list[int], before: int) -> None:
    await until(lambda: (seen or [before])[-1] == newest)


@pytest.mark.parametrize(
    ("verb", "begun_as"),
    [
        (lambda engine, task_id: engine.cancel(ALL, task_id), Status.QUEUED),
        (lambda engine, task_id: engine.delete(ALL, task_id), Status.QUEUED),
        (lambda engine, task_id: engine.run(ALL, task_id), Status.CREATED),
        (lambda engine, task_id: engine.revive(ALL, task_id), Status.CANCELED),
    ],
    ids=["cancel", "delete", "run", "retry"],
)
async def test_who_follows_a_task_hears_of_what_was_written_for_a_client_that_has_gone(
    tmp_path: Path, verb: Verb, begun_as: Status
) -> None:
    store = await SqliteStore.open(tmp_path / "store.sqlite")
    try:
        async with kit(
            tmp_path, CATALOG, wrap_store=lambda _: store, timing=Timing(sweep_seconds=600.0), runs=()
        ) as it:
            for turns in range(TURNS):
                task_id = await submit(it, run=begun_as is not Status.CREATED)
                if begun_as is Status.CANCELED:
                    await it.engine.cancel(ALL, task_id)
                before = await it.get(task_id)
                seen: list[int] = []
                reading = asyncio.ensure_future(_read(it, task_id, before.event_count, seen))
                await until(lambda: it.engine.parts.hub.watchers() == (begun_as is not Status.CANCELED))
                asking = asyncio.ensure_future(verb(it.engine, task_id))
                for _ in range(turns):
                    await asyncio.sleep(0)
                asking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asking
                await until(lambda: not it.engine._errands._running)
                after = await it.get(task_id)
                if begun_as is not Status.CANCELED:  # else the stream was over before this began
                    await _seen_up_to(after.event_count, seen, before.event_count)
                queued = sum(depth.queued for depth in await store.depths())
                assert it.engine.parts.traffic.depth("default").queued == queued, f"given up after {turns} turns"
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
    finally:
        await store.close()
