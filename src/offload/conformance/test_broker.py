"""What every broker promises: tokens reach one node each, and what goes wrong costs time only."""

import asyncio

from offload.conformance.places import OpenBroker
from offload.core.ring import Lot
from offload.ports.broker import Broker, BrokerUnavailable, Token

CHECKS = ("broker",)
LOT = ("images", "resize")
OTHER = ("images", "thumbnail")
CONNECT_SECONDS = 30.0


def token(task_id: str, lot: Lot = LOT) -> Token:
    return Token(queue=lot[0], job=lot[1], task_id=task_id)


async def announce(broker: Broker, *tokens: Token) -> None:
    """Announce, and wait for a broker that is still connecting."""
    async with asyncio.timeout(CONNECT_SECONDS):
        while True:
            try:
                return await broker.announce(tokens)
            except BrokerUnavailable:
                await asyncio.sleep(0.05)


async def take(broker: Broker, lot: Lot = LOT, *, limit: int = 10, tries: int = 20) -> list[Token]:
    """Take until something comes, or it is clear that nothing will."""
    for _ in range(tries):
        try:
            if tokens := await broker.take(lot, limit=limit):
                return tokens
        except BrokerUnavailable:
            await asyncio.sleep(0.05)
    return []


async def take_ids(broker: Broker, number: int, lot: Lot = LOT, *, limit: int = 10) -> list[str]:
    """Take and acknowledge until there are so many."""
    ids: list[str] = []
    while len(ids) < number:
        tokens = await take(broker, lot, limit=limit)
        assert tokens, f"only {len(ids)} of {number} tokens came"
        assert len(tokens) <= limit
        ids += [each.task_id for each in tokens]
        await broker.acknowledge(tokens)
    return ids


async def test_a_token_that_was_announced_is_taken_once(open_node: OpenBroker) -> None:
    async with open_node("a") as broker:
        await announce(broker, token("1"), token("2"), token("3"))
        assert sorted(await take_ids(broker, 3)) == ["1", "2", "3"]
        assert await take(broker, tries=1) == []


async def test_a_taken_token_says_what_was_announced(open_node: OpenBroker) -> None:
    async with open_node("a") as broker:
        await announce(broker, token("8c0f4c7e"))
        (taken,) = await take(broker)
        assert (taken.lot, taken.task_id) == (LOT, "8c0f4c7e")
        assert taken.receipt
        await broker.acknowledge([taken])


async def test_lots_do_not_mix(open_node: OpenBroker) -> None:
    async with open_node("a") as broker:
        await announce(broker, token("1"), token("2", OTHER))
        assert await take_ids(broker, 1, OTHER) == ["2"]
        assert await take_ids(broker, 1, LOT) == ["1"]


async def test_no_more_than_the_limit_comes_and_the_rest_waits(open_node: OpenBroker) -> None:
    async with open_node("a") as broker:
        await announce(broker, *(token(str(i)) for i in range(25)))
        assert sorted(map(int, await take_ids(broker, 25, limit=4))) == list(range(25))


async def test_each_token_goes_to_one_of_the_nodes(open_node: OpenBroker) -> None:
    async with open_node("a") as one, open_node("b") as other:
        await announce(one, *(token(str(i)) for i in range(40)))
        got: list[str] = []

        async def eat(broker: Broker) -> None:
            while len(got) < 40:
                tokens = await take(broker, limit=3, tries=1)
                got.extend(each.task_id for each in tokens)
                await broker.acknowledge(tokens)

        await asyncio.gather(eat(one), eat(other))
        assert sorted(map(int, got)) == list(range(40))


async def test_a_waiting_node_hears_of_a_token_that_comes_later(open_node: OpenBroker) -> None:
    async with open_node("a") as one, open_node("b") as other:
        waiting = asyncio.create_task(take(one))
        await announce(other, token("1"))
        assert [each.task_id for each in await waiting] == ["1"]


async def test_a_released_token_goes_to_another_node_at_once(open_node: OpenBroker) -> None:
    async with open_node("a") as one, open_node("b") as other:
        await announce(one, token("1"))
        await one.release(await take(one))
        assert await take_ids(other, 1) == ["1"]


async def test_what_a_stopped_node_held_comes_to_another(open_node: OpenBroker) -> None:
    async with open_node("b") as other:
        async with open_node("a") as one:
            await announce(one, token("1"))
            assert await take(one)
        assert await take_ids(other, 1) == ["1"]


async def test_acknowledging_twice_or_what_was_never_taken_is_harmless(open_node: OpenBroker) -> None:
    async with open_node("a") as broker:
        await announce(broker, token("1"))
        tokens = await take(broker)
        await broker.acknowledge(tokens)
        await broker.acknowledge(tokens)
        await announce(broker, token("2"))
        assert await take_ids(broker, 1) == ["2"]


async def test_a_restart_loses_nothing_that_waits(open_node: OpenBroker) -> None:
    async with open_node("a") as broker:
        await announce(broker, token("1"))
        await broker.restart()
        assert await take_ids(broker, 1) == ["1"]


async def test_announcing_nothing_tells_that_the_broker_is_there(open_node: OpenBroker) -> None:
    async with open_node("a") as broker:
        await announce(broker)
        assert await take(broker, tries=1) == []


async def test_a_take_that_was_given_up_loses_no_token(open_node: OpenBroker) -> None:
    async with open_node("b") as other:
        async with open_node("a") as broker:
            await announce(broker)
            taking = asyncio.create_task(take(broker, tries=3))
            await asyncio.sleep(0)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            await announce(other, token("1"))
        assert await take_ids(other, 1) == ["1"]
