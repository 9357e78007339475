"""The roll of the nodes of a store: each tells that it is there and how fast it is, and learns it of the others."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from offload.core.ring import NODES
from offload.core.task import Seconds
from offload.engine.parts import Parts
from offload.engine.repeating import repeatable
from offload.ports.nodes import NodeState

MISSED_BEATS = 3
"""A node that has missed so many heartbeats is not counted on."""
KNOWN_SECONDS = 3600.0
"""How long a node that is not seen any more is told of."""


class LearningClock(Protocol):
    def learn(self, ahead: Seconds, unsure: Seconds) -> None:
        """Hear how far the store's time is ahead of the monotonic one, give or take."""


class Roll:
    """One per node. A node that has its store for itself tells nobody, and knows of itself."""

    def __init__(self, parts: Parts, clock: LearningClock, me: Callable[[], NodeState]) -> None:
        self._parts = parts
        self._clock = clock
        self._me = me
        self._others: list[NodeState] = []
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Set the clock, by which everything else goes, and begin to tell and to learn."""
        if self._parts.ringer.alone:
            return
        await self.beat()
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def announce(self) -> None:
        """Have the others learn at once that this node is there, or how it is now."""
        if not self._parts.ringer.alone:
            await repeatable("roll", self.beat)
            self._parts.ringer.topic(NODES)

    async def stop(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            await repeatable("roll", self._leave)
            self._parts.ringer.topic(NODES)

    def others(self) -> list[NodeState]:
        """Return the other nodes that were there lately."""
        oldest = self._parts.clock.now() - MISSED_BEATS * self._parts.timing.heartbeat_seconds
        return [node for node in self._others if node.seen_at >= oldest]

    def is_first(self) -> bool:
        """Tell whether this node does what one node is enough for; for a moment two may, or none."""
        return all(self._parts.node < node.name for node in self.others())

    def somebody_works(self) -> bool:
        """Tell whether another node has lately looked for tasks."""
        timing = self._parts.timing
        oldest = self._parts.clock.now() - MISSED_BEATS * max(timing.heartbeat_seconds, timing.sweep_seconds)
        return any(node.looked_at is not None and node.looked_at >= oldest for node in self.others())

    def with_other_files(self) -> list[str]:
        """Return the names of nodes whose files are not this one's: results would be missing."""
        own = self._parts.files_at
        return [node.name for node in self.others() if own and node.files_at and node.files_at != own]

    async def all(self) -> list[NodeState]:
        """Return every node that is known, this one as it is now, by name."""
        known = {node.name: node for node in await self._parts.nodes.all()}
        known[self._parts.node] = self._me()
        return [known[name] for name in sorted(known)]

    async def beat(self) -> None:
        """Set the clock by the store's, tell how this node is, and learn how the others are."""
        parts = self._parts
        await self._set_clock()
        await parts.nodes.beat(self._me())
        await self.reread()
        if self.is_first():
            await parts.nodes.forget(seen_before=parts.clock.now() - KNOWN_SECONDS)

    async def reread(self) -> None:
        """Learn how the others are."""
        parts = self._parts
        self._others = [node for node in await parts.nodes.all() if node.name != parts.node]
        others = self.others()
        parts.traffic.learn(
            arrivals=[node.arrivals_per_second for node in others],
            completions=[node.completions_per_second for node in others],
            run_seconds=[node.run_seconds for node in others],
        )

    async def _set_clock(self) -> None:
        """All nodes go by the store's time, so that they agree on when a lease ends, whatever their own clocks say."""
        clock = self._parts.clock
        asked_at = clock.monotonic()
        time = await self._parts.nodes.now()
        answered_at = clock.monotonic()
        if time is not None:
            self._clock.learn(time - (asked_at + answered_at) / 2, (answered_at - asked_at) / 2)

    async def _leave(self) -> None:
        await self._parts.nodes.leave(self._parts.node)

    async def _run(self) -> None:
        seconds = self._parts.timing.heartbeat_seconds
        while True:
            await asyncio.sleep(seconds * (0.9 + 0.1 * self._parts.chance()))
            await repeatable("roll", self.beat)
