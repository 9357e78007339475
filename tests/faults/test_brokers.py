"""What becomes of tasks when real brokers die, freeze, forget everything, or hold what nobody wrote."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from urllib.request import Request, urlopen
from uuid import uuid4

import aio_pika
import httpx2
import pytest

from offload.client import Client
from offload.conformance.fleet import Fleet, fleet, swift
from offload.core.task import ALL, FINAL
from offload.ports.broker import Broker, BrokerUnavailable, Token
from offload.stores.memory import MemoryStore
from offload.stores.sqlite.store import SqliteStore
from tests.backends.brokers import Backend, backends, make_broker, open_broker, private
from tests.backends.rabbitmq import RabbitServer
from tests.backends.redis import RedisServer
from tests.backends.sqs import SqsServer
from tests.backends.waiting import wait_until
from tests.servers import Server

JOBS = Path(__file__).parent / "jobs_for_servers.py"
ROUNDS = int(os.environ.get("BROKER_ROUNDS", "0"))
FEW_ROUNDS = {"redis": 2, "rabbitmq": 1}
LOT = ("default", "small")
T = TypeVar("T")


class Flood:
    """Submits without pause until it is told to stop, and knows what was accepted."""

    def __init__(self, nodes: Fleet) -> None:
        self._nodes = nodes
        self._stopping = False
        self.ids: list[str] = []

    async def run(self) -> None:
        while not self._stopping:
            self.ids += await self._nodes.submit()
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        self._stopping = True


@pytest.mark.deadline(3600)
@pytest.mark.parametrize("name", backends() if ROUNDS else ["redis", "rabbitmq"])
async def test_a_broker_killed_and_started_again_under_load_loses_and_doubles_nothing(
    name: str, tmp_path: Path
) -> None:
    prefix = f"t{uuid4().hex[:12]}"
    rounds = ROUNDS or FEW_ROUNDS[name]
    store = await SqliteStore.open(tmp_path / "store.sqlite")
    with private(name, tmp_path / "broker") as server:
        timing = swift(sweep_seconds=2.0)
        async with fleet(tmp_path, store, _maker(server, prefix), timing=timing) as nodes:
            flood = Flood(nodes)
            flooding = asyncio.create_task(flood.run())
            for _ in range(rounds):
                await _tokens_flow(nodes, all_well=False)
                server.kill()
                await asyncio.sleep(0.5)  # tasks are accepted and run meanwhile
                await asyncio.to_thread(server.start)
            await _tokens_flow(nodes, all_well=False)
            flood.stop()
            await flooding
            await nodes.done(flood.ids, seconds=60)
            waits, ends = await _waits_and_ends(store, flood.ids)
            second = sum(number - 1 for number in ends)
            print(f"\n| {name} | {rounds} | {len(flood.ids)} | 0 | {second} | {max(waits):.1f} s |")
            assert set(ends) == {1} and nodes.ran_once(flood.ids)
    await store.close()


@pytest.mark.parametrize("name", backends())
async def test_what_was_deleted_at_the_broker_is_made_again(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: Backend = request.getfixturevalue(f"{name}_server")
    prefix = f"t{uuid4().hex[:12]}"
    async with fleet(tmp_path, MemoryStore(), _maker(server, prefix)) as nodes:  # no sweep
        await _tokens_flow(nodes)
        await WIPE[name](server, prefix)
        await _tokens_flow(nodes)
        ids = await nodes.submit(10)
        await nodes.done(ids)
        assert nodes.ran_once(ids)


@pytest.mark.parametrize("name", ["redis", "rabbitmq"] if ROUNDS else ["redis"])
async def test_a_broker_that_freezes_is_noticed_and_done_without_until_it_thaws(name: str, tmp_path: Path) -> None:
    with private(name, tmp_path / "broker") as server:
        assert isinstance(server, (RedisServer, RabbitServer))
        async with fleet(tmp_path, MemoryStore(), _maker(server, "frozen")) as nodes:  # no sweep
            await _tokens_flow(nodes)
            server.pause()
            ids = await nodes.submit(5)
            await nodes.done(ids, seconds=40)
            assert all(engine.health().ready for engine in nodes.engines)
            server.resume()
            await _tokens_flow(nodes)
            assert nodes.ran_once(ids)


@pytest.mark.parametrize("name", backends())
async def test_the_token_of_a_node_that_was_killed_comes_to_another(name: str, request: pytest.FixtureRequest) -> None:
    server: Backend = request.getfixturevalue(f"{name}_server")
    prefix = f"t{uuid4().hex[:12]}"
    async with open_broker(server.url, prefix=prefix, node="lives") as broker:
        await _sure(lambda: broker.announce([Token(queue=LOT[0], job=LOT[1], task_id="1")]))
        doomed = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.faults.broker_taker", server.url, prefix, *LOT],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert doomed.stdout is not None
        assert await asyncio.to_thread(doomed.stdout.readline) == "taken\n"
        doomed.send_signal(signal.SIGKILL)
        doomed.wait()
        doomed.stdout.close()
        tokens: list[Token] = []
        async with asyncio.timeout(30):
            while not tokens:
                tokens = await _sure(lambda: broker.take(LOT, limit=5))
        assert {token.task_id for token in tokens} == {"1"}  # announced again when the answer was late, there are two
        await broker.acknowledge(tokens)


@pytest.mark.parametrize("name", backends())
async def test_what_nobody_of_us_wrote_is_taken_and_forgotten(name: str, request: pytest.FixtureRequest) -> None:
    server: Backend = request.getfixturevalue(f"{name}_server")
    prefix = f"t{uuid4().hex[:12]}"
    async with open_broker(server.url, prefix=prefix, node="a") as broker:
        await _sure(lambda: broker.announce([Token(queue=LOT[0], job=LOT[1], task_id="1")]))
        await JUNK[name](server, prefix)
        found: Counter[str] = Counter()
        async with asyncio.timeout(30):
            while found["1"] < 1 or found[""] < 2:  # one that is settled late comes again
                tokens = await _sure(lambda: broker.take(LOT, limit=5))
                found.update(token.task_id for token in tokens)
                await _sure(lambda tokens=tokens: broker.acknowledge(tokens))  # type: ignore[misc]
        assert set(found) == {"1", ""}


async def test_tokens_never_fill_redis(redis_server: RedisServer) -> None:
    prefix = f"t{uuid4().hex[:12]}"
    async with open_broker(redis_server.url, prefix=prefix, node="a") as broker:
        for _ in range(105):
            await broker.announce([Token(queue=LOT[0], job=LOT[1], task_id="1")] * 100)
        length = int(redis_server.say("XLEN", f"{prefix}:default:small").decode().strip(":\r\n"))
        assert length <= 10_100  # Redis drops whole nodes of its tree
        assert redis_server.say("TTL", f"{prefix}:default:small") != b":-1\r\n"


async def test_tokens_never_fill_rabbitmq(rabbitmq_server: RabbitServer) -> None:
    prefix = f"t{uuid4().hex[:12]}"
    async with open_broker(rabbitmq_server.url, prefix=prefix, node="a") as broker:
        await _sure(lambda: broker.announce([Token(queue=LOT[0], job=LOT[1], task_id="1")]))
    told = await asyncio.to_thread(rabbitmq_server.control, "list_queues", "name", "durable", "arguments")
    (line,) = [each for each in told.splitlines() if each.startswith(prefix)]
    for bound in ('"x-max-length",10000', '"x-message-ttl",3600000', '"x-overflow","drop-head"', '"x-delivery-limit"'):
        assert bound in line, line
    assert '"quorum"' in line and "\ttrue\t" in line


async def test_connections_that_an_operator_closes_are_made_again(
    rabbitmq_server: RabbitServer, tmp_path: Path
) -> None:
    async with fleet(tmp_path, MemoryStore(), _maker(rabbitmq_server, f"t{uuid4().hex[:12]}")) as nodes:  # no sweep
        await _tokens_flow(nodes)
        await asyncio.to_thread(rabbitmq_server.control, "close_all_connections", "testing")
        async with asyncio.timeout(30):
            while any((state := engine.broker()) is None or not state.reconnects for engine in nodes.engines):
                await asyncio.sleep(0.05)
        await _tokens_flow(nodes)


def test_heartbeats_go_on_while_a_job_holds_its_process(rabbitmq_server: RabbitServer, tmp_path: Path) -> None:
    url = f"{rabbitmq_server.url}?heartbeat=2&prefix=t{uuid4().hex[:12]}"
    with Server(JOBS, tmp_path / "data", "--broker", url, "--workers", "1") as server, Client(server.url) as client:
        client.call("hold_the_gil", trace=str(tmp_path / "trace"), seconds=0.1)  # its queue is made
        wait_until(lambda: _said_of_the_broker(server)["offload_broker_up"] == 1.0, seconds=30, what="the broker")
        before = _said_of_the_broker(server)
        client.call("hold_the_gil", trace=str(tmp_path / "trace"), seconds=8.0)  # RabbitMQ gives up after 2 heartbeats
        assert _said_of_the_broker(server) == before, server.log()


def _said_of_the_broker(server: Server) -> dict[str, float]:
    """Return whether it is up, and how often it had to be reached again."""
    lines = [line.split() for line in httpx2.get(f"{server.url}/metrics").text.splitlines()]
    wanted = ("offload_broker_up", "offload_broker_reconnects_total")
    return {name: float(value) for name, value, *_ in lines if name in wanted}


def _maker(server: Backend, prefix: str) -> Callable[[str], Broker]:
    return lambda node: make_broker(server.url, prefix=prefix, node=node)


async def _tokens_flow(nodes: Fleet, *, all_well: bool = True) -> None:
    """Return when tokens come, and every node says that the broker is well."""
    before = nodes.tokens("taken")
    async with asyncio.timeout(120):
        while True:
            troubled = [engine for engine in nodes.engines if (state := engine.broker()) is None or state.trouble]
            if not (troubled and all_well) and nodes.tokens("taken") > before:
                return
            await nodes.submit()
            await asyncio.sleep(0.05)


async def _sure(call: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except BrokerUnavailable:
                await asyncio.sleep(0.05)


async def _waits_and_ends(store: SqliteStore, ids: list[str]) -> tuple[list[float], list[int]]:
    """Return how long each task took, and how many ends were recorded of it."""
    waits, ends = [], []
    for task_id in ids:
        task = await store.get(ALL, task_id)
        assert task is not None and task.finished_at is not None
        waits.append(task.finished_at - task.created_at)
        said = [json.loads(event.data) for event in await store.events(ALL, task_id) if event.kind == "status"]
        ends.append(sum(each["status"] in FINAL for each in said))
    return waits, ends


async def _wipe_redis(server: Backend, prefix: str) -> None:
    assert isinstance(server, RedisServer)
    server.say("FLUSHALL")


async def _wipe_rabbitmq(server: Backend, prefix: str) -> None:
    async with await aio_pika.connect(server.url) as connection, connection.channel() as channel:
        for job in ("default.small", "other.large"):
            await channel.queue_delete(f"{prefix}.{job}")


async def _wipe_sqs(server: Backend, prefix: str) -> None:
    assert isinstance(server, SqsServer)
    with urlopen(Request(f"{server.endpoint}/moto-api/reset", method="POST")) as answer:
        assert answer.status == 200


async def _junk_redis(server: Backend, prefix: str) -> None:
    assert isinstance(server, RedisServer)
    server.say("XADD", f"{prefix}:default:small", "*", "what", "is this")
    server.say("XADD", f"{prefix}:default:small", "*", "a", "b", "c", "d")


async def _junk_rabbitmq(server: Backend, prefix: str) -> None:
    async with await aio_pika.connect(server.url) as connection, connection.channel() as channel:
        for body in (b"\xff\x00", b"[1]"):
            await channel.default_exchange.publish(aio_pika.Message(body), f"{prefix}.default.small")


async def _junk_sqs(server: Backend, prefix: str) -> None:
    from aiobotocore.session import get_session

    assert isinstance(server, SqsServer)
    given = {"region_name": "eu-central-1", "endpoint_url": server.endpoint, "aws_access_key_id": "k"}
    async with get_session().create_client("sqs", aws_secret_access_key="s", **given) as client:
        (url,) = (await client.list_queues(QueueNamePrefix=prefix))["QueueUrls"]
        for body in ("not json", "[1]"):
            await client.send_message(QueueUrl=url, MessageBody=body)


WIPE: dict[str, Callable[[Backend, str], Awaitable[None]]] = {
    "redis": _wipe_redis,
    "rabbitmq": _wipe_rabbitmq,
    "sqs": _wipe_sqs,
}
JUNK: dict[str, Callable[[Backend, str], Awaitable[None]]] = {
    "redis": _junk_redis,
    "rabbitmq": _junk_rabbitmq,
    "sqs": _junk_sqs,
}
