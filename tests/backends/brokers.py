"""The brokers that tests run against: their servers, and their adapters with waits short enough for a test."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

from offload.brokers.address import address_of
from offload.ports.broker import Broker
from tests.backends.rabbitmq import RabbitServer
from tests.backends.redis import RedisServer
from tests.backends.sqs import SqsServer


class Backend(Protocol):
    """A private broker server."""

    @property
    def url(self) -> str: ...

    def kill(self) -> None: ...

    def start(self) -> object: ...

    def stop(self) -> None: ...


def backends() -> list[str]:
    """Return the names of the brokers; for each there is a fixture `NAME_server`."""
    return ["redis", "rabbitmq", "sqs"]


def private(name: str, folder: Path) -> AbstractContextManager[Backend]:
    """Start a server for one test, which may kill it."""
    if name == "redis":
        return RedisServer(folder)
    return RabbitServer(folder) if name == "rabbitmq" else SqsServer(folder)


@asynccontextmanager
async def open_broker(url: str, *, prefix: str, node: str) -> AsyncIterator[Broker]:
    """Open one node's end of a real broker."""
    broker = make_broker(url, prefix=prefix, node=node)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


def make_broker(url: str, *, prefix: str, node: str, patient: bool = False) -> Broker:
    """Return one node's end, not yet started.

    A `patient` one is for tests in which nothing is wrong but the machine may stand still for seconds: it takes no
    token from a node that is only slow, and waits for a server that is.
    """
    answer_seconds = 10.0 if patient else 2.0
    address = address_of(f"{url}{'&' if '?' in url else '?'}prefix={prefix}")
    if address.scheme == "redis":
        from offload.brokers.redis import RedisBroker, Waits

        abandoned_seconds = 10.0 if patient else 0.5
        waits = Waits(
            take_seconds=0.5, abandoned_seconds=abandoned_seconds, look_seconds=0.1, answer_seconds=answer_seconds
        )
        return RedisBroker(address, node=node, waits=waits)
    if address.scheme == "amqp":
        from offload.brokers import rabbitmq

        calm = rabbitmq.Waits(take_seconds=0.5, answer_seconds=answer_seconds)
        return rabbitmq.RabbitBroker(address, node=node, waits=calm)
    if address.scheme == "sqs":
        from offload.brokers import sqs

        held = sqs.Waits(take_seconds=1, held_seconds=8 if patient else 2, answer_seconds=answer_seconds)
        return sqs.SqsBroker(address, node=node, waits=held)
    raise AssertionError(f"no broker speaks {address.scheme}")
