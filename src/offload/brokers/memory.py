"""Tokens in this process's memory: what every other broker is compared with."""

import asyncio
import itertools
from collections import defaultdict, deque
from collections.abc import Sequence

import msgspec

from offload.core.ring import Lot
from offload.ports.broker import Token

LENGTH_MAX = 10_000
WAIT_SECONDS = 5.0


class MemoryBus:
    """The tokens that wait, for all brokers of one process."""

    def __init__(self) -> None:
        self.waiting: defaultdict[Lot, deque[Token]] = defaultdict(lambda: deque(maxlen=LENGTH_MAX))
        self.came = asyncio.Condition()
        self.receipts = itertools.count(1)

    async def put(self, tokens: Sequence[Token]) -> None:
        async with self.came:
            for token in tokens:
                self.waiting[token.lot].append(token)
            self.came.notify_all()


class MemoryBroker:
    """One node's end of a bus."""

    def __init__(self, bus: MemoryBus, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._bus = bus
        self._wait_seconds = wait_seconds
        self._taken: dict[str, Token] = {}

    @property
    def reconnects(self) -> int:
        return 0

    async def start(self) -> None:
        return None

    async def announce(self, tokens: Sequence[Token]) -> None:
        await self._bus.put(tokens)

    async def take(self, lot: Lot, *, limit: int) -> list[Token]:
        waiting = self._bus.waiting[lot]
        try:
            async with asyncio.timeout(self._wait_seconds), self._bus.came:
                await self._bus.came.wait_for(lambda: bool(waiting))
        except TimeoutError:
            return []
        tokens = [self._received(waiting.popleft()) for _ in range(min(limit, len(waiting)))]
        self._taken.update((token.receipt, token) for token in tokens)
        return tokens

    async def acknowledge(self, tokens: Sequence[Token]) -> None:
        for token in tokens:
            self._taken.pop(token.receipt, None)

    async def release(self, tokens: Sequence[Token]) -> None:
        await self._bus.put([token for token in tokens if self._taken.pop(token.receipt, None)])

    async def restart(self) -> None:
        await self.release(list(self._taken.values()))

    async def stop(self) -> None:
        await self.release(list(self._taken.values()))

    def _received(self, token: Token) -> Token:
        return msgspec.structs.replace(token, receipt=str(next(self._bus.receipts)))
