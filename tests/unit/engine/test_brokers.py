"""A broker, or its client library, that fails in a way of its own costs time and nothing else."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from offload.core.ring import Lot
from offload.core.task import Status
from offload.engine.parts import Timing
from offload.engine.stats import Stats
from offload.engine.taker import QUIET_SECONDS, Taker
from offload.ports.broker import Token
from tests.unit.engine.kit import HandClock, kit
from tests.unit.engine.steps import CATALOG, status_is, submit
from tests.unit.engine.waiting import until


class Odd:
    """A broker that gives no tokens, unless the test puts some here, and fails where the test says."""

    def __init__(self) -> None:
        self.reconnects = 0
        self.takes: dict[Lot, int] = {}
        self.given: list[Token] = []
        self.fails_to: dict[str, Callable[[], BaseException]] = {}
        self.is_stuck = False
        """It does not take the next announcement, until the call is given up."""

    async def start(self) -> None:
        pass

    async def announce(self, tokens: Sequence[Token]) -> None:
        if self.is_stuck:
            self.is_stuck = False
            await asyncio.Event().wait()
        self._perhaps_fail("announce")

    async def take(self, lot: Lot, *, limit: int) -> list[Token]:
        self.takes[lot] = self.takes.get(lot, 0) + 1
        given = [token for token in self.given if token.lot == lot]
        if given:
            self.given.clear()
            return given
        await asyncio.Event().wait()
        return []

    async def acknowledge(self, tokens: Sequence[Token]) -> None:
        pass

    async def release(self, tokens: Sequence[Token]) -> None:
        self._perhaps_fail("release")

    async def restart(self) -> None:
        self._perhaps_fail("restart")

    async def stop(self) -> None:
        pass

    def _perhaps_fail(self, what: str) -> None:
        if what in self.fails_to:
            raise self.fails_to[what]()


FAILURES = [lambda: RuntimeError("a mistake of the adapter"), asyncio.CancelledError]


@pytest.mark.parametrize("failure", FAILURES)
async def test_tokens_are_taken_again_after_a_broker_could_not_be_begun_anew(
    tmp_path: Path, failure: Callable[[], BaseException]
) -> None:
    broker = Odd()
    broker.fails_to["restart"] = failure
    lot = ("default", "noop")
    timing = Timing(sweep_seconds=600.0, heartbeat_seconds=0.02)
    async with kit(tmp_path, CATALOG, broker=broker, timing=timing, places=2) as it:
        await until(lambda: broker.takes.get(lot) == 1)
        task_id = await submit(it)
        it.clock.at += QUIET_SECONDS + 1.0
        it.engine._dispatcher.look_everywhere()  # so it is found by looking, and no token came
        await status_is(it, task_id, Status.RUNNING)
        await until(lambda: it.engine.stats.tokens["restarts"] == 1)
        await until(lambda: broker.takes[lot] == 2)


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_node_stops_in_good_order_when_what_was_given_back_cannot_be_announced(
    tmp_path: Path, failure: Callable[[], BaseException]
) -> None:
    broker = Odd()
    timing = Timing(sweep_seconds=600.0, heartbeat_seconds=0.02)
    async with kit(tmp_path, CATALOG, broker=broker, timing=timing) as it:
        task_id = await submit(it)
        it.engine._dispatcher.ready("default", "noop")
        await status_is(it, task_id, Status.RUNNING)
        broker.is_stuck = True  # so that the last words are said by the stop itself
        broker.fails_to["announce"] = failure
        await it.engine.stop(0.0)
        assert (await it.get(task_id)).status is Status.QUEUED
        assert it.engine._loops and all(loop.done() for loop in it.engine._loops)


class Nobody:
    """A dispatcher that has a place and asks the store for nothing."""

    def __init__(self) -> None:
        self.told: list[Lot] = []

    def places(self, lot: Lot) -> int:
        return 1

    def ready(self, queue: str, job: str) -> None:
        self.told.append((queue, job))

    def look_everywhere(self) -> None:
        pass


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_taker_ends_also_when_the_broker_does_not_take_its_tokens_back(
    failure: Callable[[], BaseException],
) -> None:
    broker, dispatching = Odd(), Nobody()
    broker.given.append(Token(queue="default", job="noop", task_id="1", receipt="1"))
    broker.fails_to["release"] = failure
    taker = Taker(broker, dispatching, clock=HandClock(), stats=Stats())
    taker.start([("default", "noop")])
    await until(lambda: dispatching.told == [("default", "noop")])
    await taker.stop()
