"""Bells without a network: of a node that is alone, and of several nodes in one process."""

import asyncio
from collections.abc import Callable

from offload.core.ring import Ring

Hear = Callable[[Ring], None]


class LocalBell:
    """The bell of a node that has its store for itself: nobody hears, nobody rings."""

    alone = True

    async def start(self, hear: Hear) -> None:
        pass

    async def ring(self, ring: Ring) -> None:
        pass

    async def stop(self) -> None:
        pass


class MuteBell(LocalBell):
    """The bell of a node whose store has others but no bell: they find what they do not hear."""

    alone = False


class Tower:
    """Connects the bells of nodes that share a store in memory."""

    def __init__(self) -> None:
        self.hearers: dict[object, Hear] = {}

    def bell(self) -> "MemoryBell":
        return MemoryBell(self)


class MemoryBell:
    """One node's bell: every other one in the tower hears it in the next turn of the loop."""

    alone = False

    def __init__(self, tower: Tower) -> None:
        self._tower = tower

    async def start(self, hear: Hear) -> None:
        self._tower.hearers[self] = hear

    async def ring(self, ring: Ring) -> None:
        loop = asyncio.get_running_loop()
        for bell, hear in self._tower.hearers.items():
            if bell is not self:
                loop.call_soon(hear, ring)

    async def stop(self) -> None:
        self._tower.hearers.pop(self, None)
