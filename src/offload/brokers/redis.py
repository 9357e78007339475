"""Tokens in Redis: a stream for each lot, read by one group of consumers, of which each node is one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from offload.brokers.address import Address
from offload.core.errors import WrongSetting
from offload.core.ring import Lot
from offload.core.task import Record, Seconds
from offload.ports.broker import BrokerUnavailable, Token

GROUP = "nodes"
LENGTH_MAX = 10_000
"""Tokens of a lot; older ones are dropped, for any token will do."""
ENTRIES_AT_ONCE = 100


class Waits(Record, frozen=True, kw_only=True):
    """How long this broker waits for what, in seconds."""

    take_seconds: Seconds = 5.0
    abandoned_seconds: Seconds = 60.0
    """A token that its node has neither acknowledged nor released for so long is another's."""
    look_seconds: Seconds = 30.0
    """How often abandoned tokens are looked for."""
    key_seconds: Seconds = 3_600.0
    """A stream to which nobody has written for so long goes."""
    forget_seconds: Seconds = 3_600.0
    """A node that has not read for so long is forgotten."""
    answer_seconds: Seconds = 5.0


class RedisBroker:
    """One node's consumer. What FLUSHALL took is made again at the next read."""

    def __init__(self, address: Address, *, node: str, waits: Waits | None = None) -> None:
        self._address = address
        self._node = node
        self._waits = waits or Waits()
        self._looked_at: dict[Lot, Seconds] = {}
        self._lost = False
        self.reconnects = 0
        self._redis = self._connected()

    async def start(self) -> None:
        return None

    async def announce(self, tokens: Sequence[Token]) -> None:
        async with self._speaking():
            if not tokens:
                await _sure(self._redis.ping())
                return
            async with self._redis.pipeline(transaction=False) as pipe:
                for token in tokens:
                    pipe.xadd(self._key(token.lot), {"task": token.task_id}, maxlen=LENGTH_MAX, approximate=True)
                for lot in {token.lot for token in tokens}:
                    pipe.expire(self._key(lot), int(self._waits.key_seconds))
                await pipe.execute()

    async def take(self, lot: Lot, *, limit: int) -> list[Token]:
        async with self._speaking():
            try:
                if abandoned := await self._abandoned(lot, limit):
                    return abandoned
                wait_milliseconds = int(self._waits.take_seconds * 1000)
                reply: Any = await self._redis.xreadgroup(
                    GROUP, self._node, {self._key(lot): ">"}, count=limit, block=wait_milliseconds
                )
            except ResponseError as error:
                if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                    raise
                await self._make_group(lot)
                return []
        return [token for _, entries in reply or () for token in _tokens(lot, entries)]

    async def acknowledge(self, tokens: Sequence[Token]) -> None:
        async with self._speaking(), self._redis.pipeline(transaction=False) as pipe:
            for lot, receipts in _by_lot(tokens):
                pipe.xack(self._key(lot), GROUP, *receipts)
                pipe.xdel(self._key(lot), *receipts)
            await pipe.execute()

    async def release(self, tokens: Sequence[Token]) -> None:
        async with self._speaking(), self._redis.pipeline(transaction=True) as pipe:
            for token in tokens:
                pipe.xadd(self._key(token.lot), {"task": token.task_id}, maxlen=LENGTH_MAX, approximate=True)
            for lot, receipts in _by_lot(tokens):
                pipe.xack(self._key(lot), GROUP, *receipts)
                pipe.xdel(self._key(lot), *receipts)
            await pipe.execute()

    async def restart(self) -> None:
        await self._close()
        self._looked_at.clear()
        self._redis = self._connected()
        self._lost = True
        await self.announce(())

    async def stop(self) -> None:
        with contextlib.suppress(BrokerUnavailable):
            for lot in self._looked_at:
                await self._give_back(lot)
        await self._close()

    def _connected(self) -> "Redis":
        try:
            # a read waits in Redis; the socket's own limit must be longer than that
            return Redis.from_url(
                self._address.url,
                decode_responses=True,
                socket_timeout=self._waits.take_seconds + self._waits.answer_seconds,
                socket_connect_timeout=self._waits.answer_seconds,
                retry=Retry(NoBackoff(), 0),
                client_name="offload",
            )
        except (ValueError, TypeError) as error:
            raise WrongSetting(self._address.without_secrets(f"broker: {self._address.shown}: {error}")) from None

    async def _close(self) -> None:
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _make_group(self, lot: Lot) -> None:
        try:
            await self._redis.xgroup_create(self._key(lot), GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _abandoned(self, lot: Lot, limit: int) -> list[Token]:
        """Take over what dead nodes left, and forget those; now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at.get(lot, -self._waits.look_seconds) < self._waits.look_seconds:
            return []
        await self._make_group(lot)
        self._looked_at[lot] = now
        key = self._key(lot)
        idle_milliseconds = int(self._waits.abandoned_seconds * 1000)
        found = await self._redis.xautoclaim(key, GROUP, self._node, idle_milliseconds, "0-0", count=limit)
        for consumer in await self._redis.xinfo_consumers(key, GROUP):
            forgotten = consumer["idle"] > self._waits.forget_seconds * 1000 and not consumer["pending"]
            if forgotten and consumer["name"] != self._node:
                await self._redis.xgroup_delconsumer(key, GROUP, consumer["name"])
        tokens = _tokens(lot, found[1])
        if len(tokens) == limit:
            del self._looked_at[lot]  # there may be more
        return tokens

    async def _give_back(self, lot: Lot) -> None:
        async with self._speaking():
            key = self._key(lot)
            try:
                held: Any = await self._redis.xreadgroup(GROUP, self._node, {key: "0"}, count=ENTRIES_AT_ONCE)
                tokens = [token for _, entries in held or () for token in _tokens(lot, entries)]
                if tokens:
                    await self.release(tokens)
                await self._redis.xgroup_delconsumer(key, GROUP, self._node)
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise

    def _key(self, lot: Lot) -> str:
        return ":".join((self._address.prefix, *lot))

    @contextlib.asynccontextmanager
    async def _speaking(self) -> AsyncIterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            self._lost = True
            said = self._address.without_secrets(f"{type(error).__name__}: {error}")
            raise BrokerUnavailable(f"{self._address.shown}: {said}") from None
        if self._lost:
            self._lost = False
            self.reconnects += 1


def _tokens(lot: Lot, entries: Iterable[Any]) -> list[Token]:
    """Read entries; what somebody else wrote into the stream is a token as well, of no task."""
    queue, job = lot
    return [
        Token(queue=queue, job=job, task_id=str((fields or {}).get("task", "")), receipt=str(entry_id))
        for entry_id, fields in entries
    ]


def _by_lot(tokens: Sequence[Token]) -> list[tuple[Lot, list[str]]]:
    return [(lot, [token.receipt for token in tokens if token.lot == lot]) for lot in {token.lot for token in tokens}]


async def _sure(answer: Any) -> None:
    """Await what the library types as perhaps no awaitable."""
    await answer
