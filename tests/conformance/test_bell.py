"""What every bell between nodes owes while nothing is wrong: what one rings, the others hear."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from offload.bells import Tower
from offload.core.ring import KEYS, QUEUES, Ring, merged
from offload.ports.bell import Bell
from offload.stores.postgres.bell import PostgresBell
from tests.conformance.postgres import Databases

OpenBells = Callable[[], AbstractAsyncContextManager[Callable[[], Awaitable[Bell]]]]
"""Opens what makes the bells of the nodes of one store; those that were made are stopped by the tests."""


@pytest.fixture(params=["memory", "postgres"])
def open_bells(request: pytest.FixtureRequest) -> OpenBells:
    @asynccontextmanager
    async def memory() -> AsyncIterator[Callable[[], Awaitable[Bell]]]:
        tower = Tower()

        async def bell() -> Bell:
            return tower.bell()

        yield bell

    @asynccontextmanager
    async def postgres() -> AsyncIterator[Callable[[], Awaitable[Bell]]]:
        databases: Databases = request.getfixturevalue("postgres")
        url = await databases.empty()
        nodes = itertools.count(1)

        async def bell() -> Bell:
            return PostgresBell(url, node=f"node-{next(nodes)}")

        yield bell

    return memory if request.param == "memory" else postgres


class Ear:
    """Hears one bell."""

    def __init__(self) -> None:
        self.heard: list[Ring] = []
        self._more = asyncio.Event()

    def __call__(self, ring: Ring) -> None:
        self.heard.append(ring)
        self._more.set()

    async def until(self, wanted: Ring) -> None:
        """Return when all of this was heard, in however many rings."""
        async with asyncio.timeout(20):
            while not _says(merged(self.heard), wanted):
                self._more.clear()
                await self._more.wait()


async def test_what_one_node_rings_all_others_hear(open_bells: OpenBells) -> None:
    async with open_bells() as make:
        one, two, three = await make(), await make(), await make()
        ears = [Ear(), Ear(), Ear()]
        for bell, ear in zip((one, two, three), ears, strict=True):
            await bell.start(ear)
        assert not one.alone
        ring = Ring(
            ready=frozenset([("images", "resize"), ("default", "Übergröße")]),
            due_at=1_800_000_000.5,
            changed=frozenset(f"task-{n:031}" for n in range(1000)),
            stopped=frozenset(["task-1"]),
            topics=frozenset([QUEUES, KEYS]),
        )
        await one.ring(ring)
        await ears[1].until(ring)
        await ears[2].until(ring)
        await two.ring(Ring(topics=frozenset(["from two"])))
        await ears[0].until(Ring(topics=frozenset(["from two"])))
        for bell in (one, two, three):
            await bell.stop()


async def test_a_bell_that_stopped_hears_nothing_and_harms_nobody(open_bells: OpenBells) -> None:
    async with open_bells() as make:
        one, two, three = await make(), await make(), await make()
        ear, gone = Ear(), Ear()
        await one.start(lambda ring: None)
        await two.start(gone)
        await three.start(ear)
        await two.stop()
        before = len(gone.heard)
        await one.ring(Ring(stopped=frozenset(["a"])))
        await ear.until(Ring(stopped=frozenset(["a"])))
        assert len(gone.heard) == before
        await one.stop()
        await three.stop()
        await three.stop()


def _says(heard: Ring, wanted: Ring) -> bool:
    sets = ("ready", "changed", "stopped", "topics")
    return heard.due_at == wanted.due_at and all(getattr(wanted, name) <= getattr(heard, name) for name in sets)
