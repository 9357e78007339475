"""What becomes of nodes with a broker, whatever it does; no store has a part in it, so theirs is in memory."""

import asyncio
from pathlib import Path

from offload.conformance.faulty_broker import Faulty
from offload.conformance.fleet import NEVER, Fleet, connected, fleet, swift
from offload.conformance.places import MakeBroker
from offload.core.task import ALL, PRIORITY_MAX
from offload.stores.memory import MemoryStore

CHECKS = ("broker",)
SWEEP_SECONDS = 1.0


async def test_an_idle_node_does_not_ask_the_store(make_broker: MakeBroker, tmp_path: Path) -> None:
    async with fleet(tmp_path, MemoryStore(), make_broker) as nodes:
        await connected(nodes)
        for _ in range(8):  # what is still under way may end in the first
            before = nodes.counted.claims
            await asyncio.sleep(1.2)  # two whole takes: there is no event for what must not happen
            if nodes.counted.claims == before:
                break
        else:
            raise AssertionError("idle nodes go on asking")
        await nodes.done(await nodes.submit())


async def test_all_tokens_lost_no_task_is_and_none_waits_longer_than_the_sweep(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    faulty = Faulty(make_broker)
    timing = swift(sweep_seconds=SWEEP_SECONDS)
    async with fleet(tmp_path, MemoryStore(), faulty, timing=timing) as nodes:
        faulty.set(drops=1.0)
        ids = []
        for _ in range(10):
            ids += await nodes.submit(3)
            await asyncio.sleep(0.1)
        await nodes.done(ids, seconds=SWEEP_SECONDS + 10)  # the sweep, and room for a loaded machine
        assert nodes.ran_once(ids)
        waits = [await _wait_seconds(nodes, task_id) for task_id in ids]
        assert max(waits) < SWEEP_SECONDS + 10


async def test_late_tokens_in_any_order_lose_nothing_and_run_nothing_twice(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    faulty = Faulty(make_broker)
    async with fleet(tmp_path, MemoryStore(), faulty) as nodes:
        await connected(nodes)
        faulty.set(late_seconds=0.5, copies=2)
        ids = await nodes.submit(40)
        await nodes.done(ids, seconds=20)
        assert nodes.ran_once(ids)


async def test_priority_and_due_times_rule_whatever_the_broker_does(make_broker: MakeBroker, tmp_path: Path) -> None:
    faulty = Faulty(make_broker)
    timing = swift(sweep_seconds=0.3)
    async with fleet(tmp_path, MemoryStore(), faulty, places=(0, 1), timing=timing) as nodes:
        await connected(nodes)
        faulty.set(late_seconds=0.1)
        nodes.workers[1].run_seconds = NEVER
        blocker = await nodes.submit()
        async with asyncio.timeout(20):
            while nodes.runs[-1:] != blocker:
                await asyncio.sleep(0.005)
        (later,) = await nodes.submit(1, delay_seconds=1.0)
        last = await nodes.submit(2, priority=1)
        first = await nodes.submit(2, priority=PRIORITY_MAX)
        nodes.workers[1].run_seconds = 0.005
        nodes.workers[1].end()
        await nodes.done([later, *last, *first])
        assert [task_id for task_id in nodes.runs if task_id in (*first, *last, later)] == [*first, *last, later]


async def _wait_seconds(nodes: Fleet, task_id: str) -> float:
    task = await nodes.store.get(ALL, task_id)
    assert task is not None and task.finished_at is not None
    return task.finished_at - task.created_at
