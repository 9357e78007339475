"""What nodes do about a broker in trouble: whichever it is, so that the one in memory will do."""

import asyncio
from pathlib import Path

from offload.brokers.memory import MemoryBroker, MemoryBus
from offload.conformance.faulty_broker import Faulty
from offload.conformance.fleet import NEVER, connected, fleet, swift
from offload.engine.taker import QUIET_SECONDS
from offload.stores.memory import MemoryStore


async def test_a_broker_that_is_away_stops_nothing_and_is_told_of(tmp_path: Path) -> None:
    bus = MemoryBus()
    faulty = Faulty(lambda node: MemoryBroker(bus, wait_seconds=0.2))
    async with fleet(tmp_path, MemoryStore(), faulty) as nodes:  # the sweep never comes: workers poll
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


async def test_a_broker_that_is_back_is_said_to_be_well_though_all_places_are_taken(tmp_path: Path) -> None:
    bus = MemoryBus()
    faulty = Faulty(lambda node: MemoryBroker(bus, wait_seconds=0.2))
    async with fleet(tmp_path, MemoryStore(), faulty, places=(0, 1), run_seconds=NEVER) as nodes:
        faulty.set(asleep=True)
        async with asyncio.timeout(20):
            while any(engine.health().checks["broker"] == "ok" for engine in nodes.engines):
                await asyncio.sleep(0.01)
        await nodes.submit()
        async with asyncio.timeout(20):
            while not nodes.workers[1].running:  # it looked at the store by itself, and has no reason to ask for tokens
                await asyncio.sleep(0.01)
        faulty.set(asleep=False)
        async with asyncio.timeout(20):
            while any(engine.health().checks["broker"] != "ok" for engine in nodes.engines):
                await asyncio.sleep(0.01)


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
        async with asyncio.timeout(20):
            while nodes.tokens("taken") == before:  # a sweep may be quicker than one of them
                await nodes.done(await nodes.submit())
