"""Takes tokens from the broker for free places, and settles them once the store has been asked."""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from offload.core.ring import Lot
from offload.core.task import Seconds, Task
from offload.engine.loops import Pauses, end, last_word, only_our_cancels
from offload.engine.stats import Stats
from offload.ports import Ask, Clock
from offload.ports.broker import Broker, BrokerUnavailable, Token

log = logging.getLogger("offload.taker")

POLL_SECONDS: Seconds = 1.0
"""How often the store is looked at while the broker does not answer."""
ROOM_SECONDS: Seconds = 0.002
"""Freed places are gathered for so long: most are taken again at once by what waits in the store."""
HELD_SECONDS_MAX: Seconds = 1.0
"""A token for which the store was not asked by then goes back: its place went to another task."""
TAKE_SECONDS_MAX: Seconds = 60.0
QUIET_SECONDS: Seconds = 2.0
"""A task that was ready for so long, while a place was free and no token came, should have been told of."""
RESTART_SECONDS: Seconds = 30.0
"""The broker is begun anew at most this often for being quiet."""


class Dispatching(Protocol):
    """What is needed of the dispatcher."""

    def places(self, lot: Lot) -> int:
        """Return how many tasks of a lot could be claimed now; none while its queue is paused."""

    def ready(self, queue: str, job: str) -> None:
        """Ask the store for tasks of this lot."""

    def look_everywhere(self) -> None: ...


@dataclass(slots=True)
class _Stand:
    """How one lot stands with the broker."""

    room: asyncio.Event
    settled: asyncio.Event
    tokens: list[Token]
    """Taken, and not yet paid for by a claim."""
    asked: int = 0
    """How many of them the claim under way answers."""
    keep: int = 0
    """How many of them the claim has answered, when it has."""
    waiting_since: Seconds | None = None
    """Since when a place is free, the broker is asked for tokens, and none came."""


class Taker:
    """One loop for each lot: free place -> token -> the store is asked -> acknowledge. The lease is the way back."""

    def __init__(self, broker: Broker, dispatching: Dispatching, *, clock: Clock, stats: Stats) -> None:
        self._broker = broker
        self._dispatching = dispatching
        self._clock = clock
        self._stats = stats
        self._stands: dict[Lot, _Stand] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._polling: asyncio.Task[None] | None = None
        self._gathering: asyncio.TimerHandle | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._restarted_at: Seconds = float("-inf")
        self._silent: dict[Lot, str] = {}
        """Lots for which the broker could not serve, and what it said last."""

    @property
    def trouble(self) -> str | None:
        """What the broker said last, for a lot that has a place free: one without a place asks it nothing."""
        return next((why for lot, why in self._silent.items() if self._dispatching.places(lot) > 0), None)

    def start(self, lots: Iterable[Lot]) -> None:
        """Take tokens of these lots: those that this node's workers run."""
        self._stands = {lot: _Stand(room=asyncio.Event(), settled=asyncio.Event(), tokens=[]) for lot in lots}
        self._polling = asyncio.get_running_loop().create_task(self._poll())
        self._begin()

    async def stop(self) -> None:
        """Take no more, and give back what is at hand."""
        if self._gathering is not None:
            self._gathering.cancel()
        await end([self._polling, self._restarting])
        await end(self._loops)
        await self._give_back()

    def room_freed(self) -> None:
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(ROOM_SECONDS, self._offer_room)

    def asking(self, asks: Sequence[Ask]) -> None:
        """The store is being asked: what is at hand by now is answered by it."""
        for stand in self._stands.values():
            stand.asked = 0
        for ask in asks:
            for job in ask.jobs:
                if stand_of_lot := self._stands.get((ask.queue, job)):
                    stand_of_lot.asked = len(stand_of_lot.tokens)

    def fed(self, asks: Sequence[Ask], claimed: Sequence[Task]) -> None:
        """Settle what the claim answered, and notice what the broker should have told of and did not."""
        got: dict[Lot, int] = {}
        for task in claimed:
            lot = (task.queue, task.job)
            got[lot] = got.get(lot, 0) + 1
            self._suspect(lot, task)
        for ask in asks:
            lots = [(ask.queue, job) for job in ask.jobs]
            short = sum(got.get(lot, 0) for lot in lots) < ask.limit
            for lot in lots:
                stand = self._stands.get(lot)
                if stand is not None and stand.asked:
                    # all that was asked for came: this node asks again by itself, others may have the rest
                    stand.keep = stand.asked if short else min(stand.asked, got.get(lot, 0))
                    stand.settled.set()

    def _begin(self) -> None:
        spawn = asyncio.get_running_loop().create_task
        self._loops = [spawn(self._serve(lot, stand)) for lot, stand in self._stands.items()]
        self._offer_room()

    def _offer_room(self) -> None:
        self._gathering = None
        for lot, stand in self._stands.items():
            if not stand.room.is_set() and self._dispatching.places(lot) > 0:
                stand.room.set()

    async def _serve(self, lot: Lot, stand: _Stand) -> None:
        pauses = Pauses()
        while True:
            try:
                with only_our_cancels():
                    await self._round(lot, stand)
            except BrokerUnavailable as error:
                self._fell_silent(lot, str(error))
            except Exception as error:  # an adapter's own mistake must not end this loop
                log.exception("taking tokens failed")
                self._fell_silent(lot, f"{type(error).__name__}: {error}")
            else:
                pauses.reset()
                continue
            stand.waiting_since = None
            await asyncio.sleep(pauses.next())

    async def _round(self, lot: Lot, stand: _Stand) -> None:
        """Wait for a place, then for tokens, then for the store's answer."""
        while (places := self._dispatching.places(lot)) <= 0:
            stand.waiting_since = None
            stand.room.clear()
            await stand.room.wait()
        if stand.waiting_since is None:
            stand.waiting_since = self._clock.now()
        try:
            async with asyncio.timeout(TAKE_SECONDS_MAX):
                tokens = await self._broker.take(lot, limit=places)
        except TimeoutError:
            raise BrokerUnavailable("the broker did not say in time that it has no tokens") from None
        self._answered(lot)
        if not tokens:
            return
        stand.waiting_since = None
        self._stats.tokens["taken"] += len(tokens)
        stand.settled.clear()
        stand.tokens, stand.asked, stand.keep = tokens, 0, 0
        self._dispatching.ready(*lot)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HELD_SECONDS_MAX):
                await stand.settled.wait()
        stand.tokens = []
        done, rest = tokens[: stand.keep], tokens[stand.keep :]
        if done:
            await self._broker.acknowledge(done)
        if rest:
            self._stats.tokens["released"] += len(rest)
            await self._broker.release(rest)

    async def _poll(self) -> None:
        """While the broker is away, look at the store more often than the sweep does."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self._silent:
                self._dispatching.look_everywhere()

    def _suspect(self, lot: Lot, task: Task) -> None:
        """Look for signs that tokens do not come although the broker says that all is well."""
        stand = self._stands.get(lot)
        if stand is None or stand.waiting_since is None or self._silent:
            return
        ready_at = max(stand.waiting_since, task.run_at or task.created_at)
        if self._clock.now() - ready_at < QUIET_SECONDS:
            return
        self._stats.tokens["missed"] += 1
        if self._restarting is None and self._clock.monotonic() - self._restarted_at >= RESTART_SECONDS:
            log.warning("a task of job %r was ready and the broker did not tell: connecting anew", task.job)
            self._restarted_at = self._clock.monotonic()
            self._restarting = asyncio.get_running_loop().create_task(self._restart())

    async def _restart(self) -> None:
        await end(self._loops)
        await self._give_back()
        self._stats.tokens["restarts"] += 1
        await last_word(self._broker.restart(), "the broker cannot be connected anew", log)
        self._restarting = None
        self._begin()

    async def _give_back(self) -> None:
        tokens = [token for stand in self._stands.values() for token in stand.tokens]
        for stand in self._stands.values():
            stand.tokens, stand.waiting_since = [], None
        if tokens:
            await last_word(self._broker.release(tokens), "tokens cannot be given back", log)

    def _fell_silent(self, lot: Lot, why: str) -> None:
        if not self._silent:
            log.warning("the broker gives no tokens, looking at the store instead: %s", why)
        self._silent[lot] = why

    def _answered(self, lot: Lot) -> None:
        if self._silent.pop(lot, None) is not None and not self._silent:
            log.info("the broker gives tokens again")
            self._dispatching.look_everywhere()
