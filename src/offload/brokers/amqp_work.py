"""Whole tasks for workers that speak AMQP: a durable quorum queue for each job, and one for what they do not settle."""

import asyncio
import contextlib
import itertools
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from offload.brokers.address import Address
from offload.brokers.amqp_link import TROUBLES, AmqpLink, publish
from offload.core.ring import Lot
from offload.core.task import Seconds
from offload.ports.broker import BrokerUnavailable
from offload.ports.work_queue import Mail, ReturnedMail, Unread

DELIVERIES_MAX = 5
"""A message that so many workers took and did not settle comes back, instead of going round for ever."""
FAILURES_MAX = 2
"""A quorum queue whose broker was killed just after it was made may stay without a leader for ever."""
ANSWER_SECONDS: Seconds = 5.0
DELETE_SECONDS: Seconds = 20.0
WAIT_SECONDS: Seconds = 5.0
PREFETCH = 100


class AmqpWork:
    """One connection that posts and one that hears of returns."""

    def __init__(self, address: Address, *, node: str) -> None:
        self._prefix = address.prefix
        self._out = AmqpLink(address, name=f"{node} posts")
        self._in = AmqpLink(address, name=f"{node} hears of returns")
        self._channel: AbstractChannel | None = None
        self._channel_of = 0
        self._declared: set[Lot] = set()
        self._failures: Counter[Lot] = Counter()
        self._hearing = 0
        self._came: deque[AbstractIncomingMessage] = deque()
        self._something = asyncio.Event()
        self._returned: dict[str, AbstractIncomingMessage] = {}
        self._numbers = itertools.count(1)

    async def start(self) -> None:
        self._out.start()
        self._in.start()

    async def post(self, mails: Sequence[Mail]) -> None:
        for lot in {mail.lot for mail in mails}:
            channel = await self._posting()
            try:
                async with self._out.speaking():
                    if lot not in self._declared:
                        await self._declare(channel, lot)
                        self._declared.add(lot)
                    await asyncio.gather(*(self._publish(channel, mail) for mail in mails if mail.lot == lot))
            except BrokerUnavailable:
                await self._mend(lot)
                raise
            self._failures.pop(lot, None)

    async def _mend(self, lot: Lot) -> None:
        """Delete a queue that has failed again and again: what it held is posted again, for the store has it."""
        self._failures[lot] += 1
        if self._failures[lot] >= FAILURES_MAX:
            self._failures[lot] = 0
            await self._out.connected(ANSWER_SECONDS)
            channel = await self._out.channel(seconds=ANSWER_SECONDS)
            async with self._out.speaking():
                await channel.queue_delete(self._name(lot), timeout=DELETE_SECONDS)

    async def unread(self, lot: Lot) -> Unread:
        channel = await self._posting()
        async with self._out.speaking():
            found = (await self._declare(channel, lot)).declaration_result
        return Unread(mails=found.message_count or 0, consumers=found.consumer_count or 0)

    async def returned(self, *, limit: int) -> list[ReturnedMail]:
        await self._in.connected(ANSWER_SECONDS)
        await self._listen()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while not self._came:
                    self._something.clear()
                    await self._something.wait()
        found: list[ReturnedMail] = []
        while self._came and len(found) < limit:
            message = self._came.popleft()
            receipt = str(next(self._numbers))
            self._returned[receipt] = message
            found.append(ReturnedMail(body=message.body, rejected=_was_rejected(message), receipt=receipt))
        return found

    async def settle(self, returned: Sequence[ReturnedMail]) -> None:
        for mail in returned:
            message = self._returned.pop(mail.receipt, None)
            if message is not None:
                with contextlib.suppress(*TROUBLES):  # with its connection it went back, and comes again
                    await message.ack()

    async def stop(self) -> None:
        await self._in.stop()
        await self._out.stop()

    async def _posting(self) -> AbstractChannel:
        await self._out.connected(ANSWER_SECONDS)
        if self._channel is None or self._channel_of != self._out.generation or self._channel.is_closed:
            self._declared.clear()
            generation = self._out.generation
            self._channel = await self._out.channel(confirms=True, seconds=ANSWER_SECONDS)
            self._channel_of = generation
            async with self._out.speaking():
                await self._declare_returns(self._channel)
        return self._channel

    async def _listen(self) -> None:
        generation = self._in.generation
        if self._hearing == generation:
            return
        self._came.clear()
        channel = await self._in.channel(seconds=ANSWER_SECONDS)
        async with self._in.speaking():
            await channel.set_qos(prefetch_count=PREFETCH, timeout=ANSWER_SECONDS)
            queue = await self._declare_returns(channel)
            await queue.consume(self._arrived, timeout=ANSWER_SECONDS)
        self._hearing = generation

    async def _arrived(self, message: AbstractIncomingMessage) -> None:
        self._came.append(message)
        self._something.set()

    async def _publish(self, channel: AbstractChannel, mail: Mail) -> None:
        message = Message(
            mail.body,
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT,
            message_id=f"{mail.task_id}.{next(self._numbers)}",
            type=mail.job,
            app_id="offload",
            headers={"traceparent": mail.traceparent} if mail.traceparent else {},
        )
        declare = partial(self._declare, channel, mail.lot)
        await publish(channel, message, self._name(mail.lot), declare=declare, seconds=ANSWER_SECONDS)

    async def _declare(self, channel: AbstractChannel, lot: Lot) -> Any:
        arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERIES_MAX,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self._returns,
        }
        return await channel.declare_queue(self._name(lot), durable=True, arguments=arguments, timeout=ANSWER_SECONDS)

    async def _declare_returns(self, channel: AbstractChannel) -> Any:
        arguments: dict[str, Any] = {"x-queue-type": "quorum"}
        return await channel.declare_queue(self._returns, durable=True, arguments=arguments, timeout=ANSWER_SECONDS)

    @property
    def _returns(self) -> str:
        return f"{self._prefix}.returned"

    def _name(self, lot: Lot) -> str:
        return ".".join((self._prefix, "work", *lot))


def _was_rejected(message: AbstractIncomingMessage) -> bool:
    deaths: Any = message.headers.get("x-death") or [{}]
    return bool(deaths[0].get("reason") == "rejected")
