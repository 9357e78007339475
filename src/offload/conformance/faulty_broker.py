"""A broker that a test can put to sleep, make forget, repeat, mix up or say nothing."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from offload.core.ring import Lot
from offload.ports.broker import Broker, BrokerUnavailable, Token

T = TypeVar("T")


class FaultyBroker:
    """Stands around another broker, as the engine sees it."""

    def __init__(self, broker: Broker, *, seed: int = 0) -> None:
        self._broker = broker
        self._random = random.Random(seed)
        self._late: set[asyncio.Task[None]] = set()
        self._awake = asyncio.Event()
        self.drops = 0.0
        """The share of tokens that is announced and lost."""
        self.copies = 1
        """How often each token arrives."""
        self.late_seconds = 0.0
        """How late tokens arrive at most; each by another time, so that they overtake each other."""
        self.asleep = False
        """Every call fails."""
        self.mute = False
        """Takes wait for ever, until `restart`."""
        self.cancels = False
        """Calls end as if somebody had canceled them, as those of client libraries do when a connection is lost."""
        self.restarts = 0

    @property
    def reconnects(self) -> int:
        return self._broker.reconnects

    async def start(self) -> None:
        await self._broker.start()

    async def announce(self, tokens: Sequence[Token]) -> None:
        self._check()
        kept = [token for token in tokens if self._random.random() >= self.drops] * self.copies
        if tokens and not kept:
            return
        if self.late_seconds:
            for token in kept:
                late = asyncio.get_running_loop().create_task(self._bring_late(token))
                self._late.add(late)
                late.add_done_callback(self._late.discard)
            return
        await self._broker.announce(kept)

    async def take(self, lot: Lot, *, limit: int) -> list[Token]:
        self._check()
        while self.mute:
            self._awake.clear()
            await self._awake.wait()
        return await self._broker.take(lot, limit=limit)

    async def acknowledge(self, tokens: Sequence[Token]) -> None:
        self._check()
        await self._broker.acknowledge(tokens)

    async def release(self, tokens: Sequence[Token]) -> None:
        self._check()
        await self._broker.release(tokens)

    async def restart(self) -> None:
        self.restarts += 1
        self.mute = False
        self._awake.set()
        await self._broker.restart()

    async def stop(self) -> None:
        for late in self._late:
            late.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._broker.stop()

    def _check(self) -> None:
        if self.asleep:
            raise BrokerUnavailable("the broker sleeps")
        if self.cancels:
            raise asyncio.CancelledError

    async def _bring_late(self, token: Token) -> None:
        await asyncio.sleep(self._random.random() * self.late_seconds)
        await self._broker.announce([token])


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
