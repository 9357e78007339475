"""Tokens in RabbitMQ: a durable quorum queue for each lot, publisher confirms, acknowledgements by hand."""

import asyncio
import contextlib
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from offload.brokers.address import Address
from offload.brokers.amqp_link import TROUBLES, AmqpLink, publish
from offload.core.ring import Lot
from offload.core.task import Record, Seconds
from offload.ports.broker import BrokerUnavailable, Token

LENGTH_MAX = 10_000
"""Tokens of a lot; older ones are dropped, for any token will do."""
DELIVERIES_MAX = 20
"""A token that was given back so often is dropped."""
FAILURES_MAX = 2
"""A queue that has failed so often in a row while its broker is well is deleted and made anew: it holds hints only.

A quorum queue whose broker was killed just after it was made may stay without a leader for ever.
"""
_NUMBERS = itertools.count(1)


class Waits(Record, frozen=True, kw_only=True):
    """How long this broker waits for what, in seconds."""

    take_seconds: Seconds = 5.0
    rest_seconds: Seconds = 0.05
    """A consumer that nobody takes from for so long is canceled: the node has no place free."""
    answer_seconds: Seconds = 5.0
    delete_seconds: Seconds = 20.0
    token_seconds: Seconds = 3_600.0
    """Tokens that nobody has taken for so long are dropped."""


@dataclass(slots=True)
class _Line:
    """What one lot's tokens come by: a channel, and a consumer while there are places for them."""

    channel: AbstractChannel
    queue: AbstractQueue
    generation: int
    tag: str | None = None
    """None: nothing is consumed."""
    prefetch: int = 0
    waiting: deque[AbstractIncomingMessage] = field(default_factory=deque)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    resting: asyncio.TimerHandle | None = None

    async def arrived(self, message: AbstractIncomingMessage) -> None:
        if self.tag is None:
            await message.nack(requeue=True)  # it was under way when the consumer was canceled
        else:
            self.waiting.append(message)
            self.came.set()

    def stay(self) -> None:
        if self.resting is not None:
            self.resting.cancel()
            self.resting = None


class RabbitBroker:
    """One node's two connections: RabbitMQ may stop reading from one that publishes, so that tokens come by another."""

    def __init__(self, address: Address, *, node: str, waits: Waits | None = None) -> None:
        self._prefix = address.prefix
        self._waits = waits or Waits()
        self._out = AmqpLink(address, name=f"{node} announces")
        self._in = AmqpLink(address, name=f"{node} takes")
        self._publishing: AbstractChannel | None = None
        self._published_by = 0
        self._declared: set[Lot] = set()
        self._failures: Counter[Lot] = Counter()
        self._lines: dict[Lot, _Line] = {}
        self._taken: dict[str, AbstractIncomingMessage] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def reconnects(self) -> int:
        return max(0, self._out.generation - 1) + max(0, self._in.generation - 1)

    async def start(self) -> None:
        self._out.start()

    async def announce(self, tokens: Sequence[Token]) -> None:
        await self._out.connected(self._waits.answer_seconds)
        channel = await self._publisher()
        try:
            for lot in {token.lot for token in tokens}:
                async with self._watched(self._out, lot):
                    if lot not in self._declared:
                        await self._declare(channel, lot)
                        self._declared.add(lot)
                    await asyncio.gather(*(self._publish(channel, token) for token in tokens if token.lot == lot))
        except BrokerUnavailable:
            self._published_by = 0  # the channel may be closed; the next try opens another
            raise

    async def take(self, lot: Lot, *, limit: int) -> list[Token]:
        self._in.start()
        await self._in.connected(self._waits.take_seconds)
        line = await self._line(lot, limit)
        try:
            if not await self._came(line, self._waits.take_seconds):
                await self._look_whether_mute(lot, line)
            messages = [line.waiting.popleft() for _ in range(min(limit, len(line.waiting)))]
            return [self._token(lot, message, line) for message in messages]
        finally:
            line.stay()
            line.resting = asyncio.get_running_loop().call_later(self._waits.rest_seconds, self._rest_soon, line)

    async def acknowledge(self, tokens: Sequence[Token]) -> None:
        for message in self._messages(tokens):
            with contextlib.suppress(*TROUBLES):  # with its connection it went back by itself
                await message.ack()

    async def release(self, tokens: Sequence[Token]) -> None:
        for message in self._messages(tokens):
            with contextlib.suppress(*TROUBLES):
                await message.nack(requeue=True)

    async def restart(self) -> None:
        self._in.drop("begun anew")
        self._out.drop("begun anew")

    async def stop(self) -> None:
        for line in self._lines.values():
            line.stay()
        for ending in self._ending:
            ending.cancel()
        await self._in.stop()  # what was taken and not acknowledged goes back with the connection
        await self._out.stop()

    async def _publisher(self) -> AbstractChannel:
        if self._publishing is None or self._published_by != self._out.generation:
            self._declared.clear()
            self._publishing = await self._out.channel(confirms=True, seconds=self._waits.answer_seconds)
            self._published_by = self._out.generation
        return self._publishing

    async def _publish(self, channel: AbstractChannel, token: Token) -> None:
        body = msgspec.json.encode({"queue": token.queue, "job": token.job, "task": token.task_id})
        message = Message(body, content_type="application/json", delivery_mode=DeliveryMode.PERSISTENT)
        declare = partial(self._declare, channel, token.lot)
        await publish(channel, message, self._name(token.lot), declare=declare, seconds=self._waits.answer_seconds)

    async def _declare(self, channel: AbstractChannel, lot: Lot) -> AbstractQueue:
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-max-length": LENGTH_MAX,
            "x-overflow": "drop-head",
            "x-message-ttl": int(self._waits.token_seconds * 1000),
            "x-delivery-limit": DELIVERIES_MAX,
        }
        timeout = self._waits.answer_seconds
        return await channel.declare_queue(self._name(lot), durable=True, arguments=arguments, timeout=timeout)

    async def _line(self, lot: Lot, limit: int) -> _Line:
        """Return a line that consumes; begun anew when the connection is new or there is more room than before."""
        line, generation, channel = self._lines.get(lot), self._in.generation, None
        if line is not None:
            line.stay()
        if line is None or line.generation != generation:
            channel = await self._in.channel(seconds=self._waits.answer_seconds)
        async with self._watched(self._in, lot):
            if line is None or channel is not None:
                assert channel is not None
                queue = await self._declare(channel, lot)
                line = self._lines[lot] = _Line(channel=channel, queue=queue, generation=generation)
            if line.tag is not None and line.prefetch < limit:
                await self._rest(line)
            if line.tag is None:
                line.prefetch = limit
                line.tag = f"{self._prefix}.{next(_NUMBERS)}"
                await line.channel.set_qos(prefetch_count=limit, timeout=self._waits.answer_seconds)
                await line.queue.consume(line.arrived, consumer_tag=line.tag, timeout=self._waits.answer_seconds)
        return line

    @contextlib.asynccontextmanager
    async def _watched(self, link: AmqpLink, lot: Lot) -> AsyncIterator[None]:
        """Let one lot's failure be its own: the others go on, and a queue that stays broken is made anew."""
        try:
            async with link.speaking(drops=False):
                yield
        except BrokerUnavailable:
            if link is self._in and (line := self._lines.pop(lot, None)) is not None:
                line.stay()
                await self._discard(line.channel)
            self._failures[lot] += 1
            if self._failures[lot] >= FAILURES_MAX:
                self._failures[lot] = 0
                await self._delete(link, lot)
            raise
        self._failures.pop(lot, None)

    async def _delete(self, link: AmqpLink, lot: Lot) -> None:
        channel = await link.channel(seconds=self._waits.answer_seconds)
        async with link.speaking(drops=False):
            await channel.queue_delete(self._name(lot), timeout=self._waits.delete_seconds)
        await self._discard(channel)

    async def _discard(self, channel: AbstractChannel) -> None:
        with contextlib.suppress(*TROUBLES):
            async with asyncio.timeout(self._waits.answer_seconds):
                await channel.close()

    async def _came(self, line: _Line, seconds: Seconds) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not line.waiting:
                    line.came.clear()
                    await line.came.wait()
        return bool(line.waiting)

    def _rest_soon(self, line: _Line) -> None:
        async def rest() -> None:
            with contextlib.suppress(BrokerUnavailable):
                async with self._in.speaking(drops=False):
                    await self._rest(line)

        if line.generation == self._in.generation:
            ending = asyncio.get_running_loop().create_task(rest())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def _rest(self, line: _Line) -> None:
        """Consume no more, and give back what came for places that are taken by now."""
        tag, line.tag = line.tag, None
        if tag is not None:
            await line.queue.cancel(tag, timeout=self._waits.answer_seconds)
        while line.waiting:
            await line.waiting.popleft().nack(requeue=True)

    async def _look_whether_mute(self, lot: Lot, line: _Line) -> None:
        """Ask how many tokens wait: if some do although places are free, they do not come by this connection."""
        async with self._watched(self._in, lot):
            timeout = self._waits.answer_seconds
            found = await line.channel.declare_queue(line.queue.name, passive=True, timeout=timeout)
        wait = found.declaration_result.message_count or 0
        if wait and not await self._came(line, self._waits.answer_seconds):
            self._in.drop("tokens wait and do not come")

    def _token(self, lot: Lot, message: AbstractIncomingMessage, line: _Line) -> Token:
        receipt = f"{line.generation}.{lot[0]}.{lot[1]}.{message.delivery_tag}"
        self._taken[receipt] = message
        queue, job = lot
        return Token(queue=queue, job=job, task_id=_task_id(message.body), receipt=receipt)

    def _messages(self, tokens: Sequence[Token]) -> list[AbstractIncomingMessage]:
        """Return what is still to be settled: with its connection, a message has gone back already."""
        found = [self._taken.pop(token.receipt, None) for token in tokens]
        return [message for message in found if message is not None]

    def _name(self, lot: Lot) -> str:
        return ".".join((self._prefix, *lot))


def _task_id(body: bytes) -> str:
    """Return which task a message names; what somebody else put into the queue is a token as well, of no task."""
    try:
        return str(msgspec.json.decode(body, type=dict[str, Any]).get("task", ""))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
