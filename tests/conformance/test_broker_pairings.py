"""Every broker with every store: tokens make it quick, and whatever happens to them nothing is lost or done twice."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from offload.brokers.memory import MemoryBroker, MemoryBus
from offload.core.task import ALL, PRIORITY_MAX
from offload.engine.taker import QUIET_SECONDS
from offload.ports.broker import Broker
from offload.stores.memory import MemoryStore
from tests.backends.brokers import Backend, backends, make_broker
from tests.backends.faulty_broker import FaultyBroker
from tests.conformance.fleet import Fleet, fleet, swift
from tests.conformance.making import OpenStore

SWEEP_SECONDS = 1.0
ON_MEMORY = pytest.mark.parametrize("open_store", ["memory"], indirect=True)
"""For what no store has a part in: their own suite says that they keep the order."""
Make = Callable[[str], Broker]
"""Makes the end of a node, by its name."""


@pytest.fixture(params=["memory", *backends()])
def make(request: pytest.FixtureRequest) -> Callable[[str], Broker]:
    """Return what makes a node's end of one bus."""
    if request.param == "memory":
        bus = MemoryBus()
        return lambda node: MemoryBroker(bus, wait_seconds=0.5)
    backend: Backend = request.getfixturevalue(f"{request.param}_server")
    prefix = f"t{uuid4().hex[:12]}"
    return lambda node: make_broker(backend.url, prefix=prefix, node=node)


class Faulty:
    """Makes faulty brokers, and sets the faults of all of them."""

    def __init__(self, make: Callable[[str], Broker]) -> None:
        self._make = make
        self.brokers: list[FaultyBroker] = []

    def __call__(self, node: str) -> Broker:
        broker = FaultyBroker(self._make(node), seed=len(self.brokers))
        self.brokers.append(broker)
        return broker

    def set(self, **faults: object) -> None:
        for broker in self.brokers:
            for name, value in faults.items():
                setattr(broker, name, value)


async def connected(nodes: Fleet) -> None:
    """Return when the broker serves all: a first task shows it."""
    await nodes.done(await nodes.submit())
    async with asyncio.timeout(20):
        while any((state := engine.broker()) is not None and state.trouble for engine in nodes.engines):
            await asyncio.sleep(0.01)


async def test_tokens_alone_bring_every_task_to_a_free_place(make: Make, open_store: OpenStore, tmp_path: Path) -> None:
    async with open_store() as store, fleet(tmp_path, store, make) as nodes:
        await connected(nodes)
        ids = await nodes.submit(30) + await nodes.submit(10, job="large")
        await nodes.done(ids, seconds=20)
        assert nodes.ran_once(ids)


async def test_an_idle_node_does_not_ask_the_store(make: Make, tmp_path: Path) -> None:
    async with fleet(tmp_path, MemoryStore(), make) as nodes:
        await connected(nodes)
        for _ in range(8):  # what is still under way may end in the first
            before = nodes.counted.claims
            await asyncio.sleep(1.2)  # two whole takes: there is no event for what must not happen
            if nodes.counted.claims == before:
                break
        else:
            raise AssertionError("idle nodes go on asking")
        await nodes.done(await nodes.submit())


@ON_MEMORY
async def test_all_tokens_lost_no_task_is_and_none_waits_longer_than_the_sweep(
    make: Make, open_store: OpenStore, tmp_path: Path
) -> None:
    faulty = Faulty(make)
    timing = swift(sweep_seconds=SWEEP_SECONDS)
    async with open_store() as store, fleet(tmp_path, store, faulty, timing=timing) as nodes:
        faulty.set(drops=1.0)
        ids = []
        for _ in range(10):
            ids += await nodes.submit(3)
            await asyncio.sleep(0.1)
        await nodes.done(ids, seconds=SWEEP_SECONDS + 10)  # the sweep, and room for a loaded machine
        assert nodes.ran_once(ids)
        waits = [await _wait_seconds(nodes, task_id) for task_id in ids]
        assert max(waits) < SWEEP_SECONDS + 10


async def test_each_token_three_times_runs_nothing_twice(make: Make, open_store: OpenStore, tmp_path: Path) -> None:
    faulty = Faulty(make)
    async with open_store() as store, fleet(tmp_path, store, faulty) as nodes:
        await connected(nodes)
        faulty.set(copies=3)
        ids = await nodes.submit(40)
        await nodes.done(ids, seconds=20)
        assert nodes.ran_once(ids)


async def test_late_tokens_in_any_order_lose_nothing_and_run_nothing_twice(make: Make, tmp_path: Path) -> None:
    faulty = Faulty(make)
    async with fleet(tmp_path, MemoryStore(), faulty) as nodes:
        await connected(nodes)
        faulty.set(late_seconds=0.5, copies=2)
        ids = await nodes.submit(40)
        await nodes.done(ids, seconds=20)
        assert nodes.ran_once(ids)


@ON_MEMORY
async def test_a_broker_that_is_away_stops_nothing_and_is_told_of(open_store: OpenStore, tmp_path: Path) -> None:
    bus = MemoryBus()
    faulty = Faulty(lambda node: MemoryBroker(bus, wait_seconds=0.2))
    async with open_store() as store, fleet(tmp_path, store, faulty) as nodes:  # the sweep never comes: workers poll
        await connected(nodes)
        faulty.set(asleep=True)
        ids = await nodes.submit()
        async with asyncio.timeout(20):
            while any(engine.health().checks["broker"] == "ok" for engine in nodes.engines):
                await asyncio.sleep(0.01)
        assert all(engine.health().ready for engine in nodes.engines)
        ids += await nodes.submit(20)
        await nodes.done(ids, seconds=20)
        faulty.set(asleep=False)
        async with asyncio.timeout(20):
            while any(engine.health().checks["broker"] != "ok" for engine in nodes.engines):
                await asyncio.sleep(0.01)
        ids += await nodes.submit(20)
        await nodes.done(ids, seconds=20)
        assert nodes.ran_once(ids)


async def test_calls_that_the_client_library_cancels_end_no_loop(tmp_path: Path) -> None:
    bus = MemoryBus()
    faulty = Faulty(lambda node: MemoryBroker(bus, wait_seconds=0.2))
    async with fleet(tmp_path, MemoryStore(), faulty) as nodes:
        await connected(nodes)
        faulty.set(cancels=True)
        ids = await nodes.submit(3)
        await nodes.done(ids)
        faulty.set(cancels=False)
        async with asyncio.timeout(20):
            while any(engine.health().checks["broker"] != "ok" for engine in nodes.engines):
                await asyncio.sleep(0.01)
        before = nodes.tokens("taken")
        async with asyncio.timeout(20):
            while nodes.tokens("taken") == before:
                await nodes.done(await nodes.submit())
        assert nodes.ran_once(ids)


async def test_a_consumer_that_went_mute_is_noticed_and_begun_anew(tmp_path: Path) -> None:
    bus = MemoryBus()
    faulty = Faulty(lambda node: MemoryBroker(bus, wait_seconds=0.2))
    timing = swift(sweep_seconds=QUIET_SECONDS + 0.5)  # so that the sweep can find what has been ready for that long
    async with fleet(tmp_path, MemoryStore(), faulty, places=(0, 2), timing=timing) as nodes:
        await connected(nodes)
        worker = faulty.brokers[1]
        worker.mute = True
        ids = []
        async with asyncio.timeout(30):
            while not worker.restarts:
                ids += await nodes.submit()
                await asyncio.sleep(0.1)
        await nodes.done(ids)
        assert nodes.tokens("missed") and not worker.mute
        before = nodes.tokens("taken")
        await nodes.done(await nodes.submit())
        assert nodes.tokens("taken") > before


@ON_MEMORY
async def test_priority_and_due_times_rule_whatever_the_broker_does(
    make: Make, open_store: OpenStore, tmp_path: Path
) -> None:
    faulty = Faulty(make)
    timing = swift(sweep_seconds=0.3)
    async with open_store() as store, fleet(tmp_path, store, faulty, places=(0, 1), timing=timing) as nodes:
        await connected(nodes)
        faulty.set(late_seconds=0.1)
        nodes.workers[1].run_seconds = 0.5
        blocker = await nodes.submit()
        async with asyncio.timeout(20):
            while nodes.runs[-1:] != blocker:
                await asyncio.sleep(0.005)
        (later,) = await nodes.submit(1, delay_seconds=1.0)
        last = await nodes.submit(2, priority=1)
        first = await nodes.submit(2, priority=PRIORITY_MAX)
        nodes.workers[1].run_seconds = 0.005
        await nodes.done([later, *last, *first])
        assert [task_id for task_id in nodes.runs if task_id in (*first, *last, later)] == [*first, *last, later]


async def _wait_seconds(nodes: Fleet, task_id: str) -> float:
    task = await nodes.store.get(ALL, task_id)
    assert task is not None and task.finished_at is not None
    return task.finished_at - task.created_at
