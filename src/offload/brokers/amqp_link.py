"""One connection to RabbitMQ that is made again when it breaks, until it is closed."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import aio_pika
from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, PublishError
from yarl import URL

from offload.brokers.address import Address
from offload.core.task import Seconds
from offload.ports.broker import BrokerUnavailable

HEARTBEAT_SECONDS = 10
CONNECT_SECONDS = 10.0
PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 5.0
TROUBLES = (*CONNECTION_EXCEPTIONS, TimeoutError)


class AmqpLink:
    """Keeps a connection: when it breaks, or is not to be believed any more, a new one begins."""

    def __init__(self, address: Address, *, name: str) -> None:
        self._address = address
        self._name = name
        self._url = URL(address.url)
        if "heartbeat" not in self._url.query:
            self._url = self._url.update_query(heartbeat=str(HEARTBEAT_SECONDS))
        self._connection: AbstractConnection | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._lost = asyncio.Event()
        self._why = f"{address.shown}: not connected yet"
        self.generation = 0
        """How many connections there have been; what belongs to an older one is gone."""

    def start(self) -> None:
        if self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        while self._keeping is not None and not self._keeping.done():
            self._keeping.cancel()
            await asyncio.wait([self._keeping], timeout=0.5)
        self._keeping = None
        await self._close()

    def drop(self, why: object) -> None:
        """Give up the connection, for `why`; the next is made at once."""
        self._why = self._said(why)
        self._lost.set()

    async def channel(self, *, confirms: bool = False, seconds: Seconds) -> AbstractChannel:
        """Open a channel. Raise BrokerUnavailable, and give up a connection that does not answer."""
        if self._connection is None or self._lost.is_set():
            raise BrokerUnavailable(self._why)
        async with self.speaking():
            channel = self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
            await channel.initialize(timeout=seconds)
            return channel

    async def connected(self, seconds: Seconds) -> None:
        """Wait for a connection. Raise BrokerUnavailable."""
        try:
            async with asyncio.timeout(seconds):
                while self._connection is None or self._lost.is_set():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise BrokerUnavailable(self._why) from None

    @contextlib.asynccontextmanager
    async def speaking(self, *, drops: bool = True) -> AsyncIterator[None]:
        """Turn what goes wrong into BrokerUnavailable, and give up the connection unless it `drops` not."""
        try:
            yield
        except (*TROUBLES, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and _canceled():
                raise
            if drops:
                self.drop(error)
            raise BrokerUnavailable(self._said(error)) from None

    async def _keep(self) -> None:
        pause = PAUSE_SECONDS
        while True:
            self._lost.clear()
            try:
                connection = await aio_pika.connect(
                    self._url, timeout=CONNECT_SECONDS, client_properties={"connection_name": self._name}
                )
            except (*TROUBLES, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and _canceled():
                    raise
                self._why = self._said(error)
            else:
                connection.close_callbacks.add(self._closed)
                self._connection = connection
                self.generation += 1
                self._changed.set()
                began = asyncio.get_running_loop().time()
                await self._lost.wait()
                if asyncio.get_running_loop().time() - began > PAUSE_SECONDS_MAX:
                    pause = PAUSE_SECONDS
                await self._close()
            # not all nodes at the same moment, when the broker comes back
            await asyncio.sleep(pause * (0.5 + random.random()))
            pause = min(PAUSE_SECONDS_MAX, pause * 2)

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(BrokerUnavailable):
                async with self.speaking(drops=False), asyncio.timeout(1.0):
                    await connection.close()

    def _closed(self, _: object, error: BaseException | None = None) -> None:
        self.drop(error or "the connection was lost")

    def _said(self, why: object) -> str:
        text = f"{type(why).__name__}: {why}" if isinstance(why, BaseException) else str(why)
        return f"{self._address.shown}: {self._address.without_secrets(text)}"


async def publish(
    channel: AbstractChannel,
    message: Message,
    queue: str,
    *,
    declare: Callable[[], Awaitable[object]],
    seconds: Seconds,
) -> None:
    """Publish to a queue and wait for the confirmation; a queue that somebody has deleted is declared again, once."""
    for again in (True, False):
        try:
            await channel.default_exchange.publish(message, queue, timeout=seconds)
            return
        except PublishError:
            if not again:
                raise
            await declare()


def _canceled() -> bool:
    """Tell whether somebody wants this task to end; the client library cancels calls of lost connections by itself."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
