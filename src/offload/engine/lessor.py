"""Lends tasks to workers elsewhere: those who wait are served in the order in which they came, without polling."""

import asyncio
import contextlib
import logging
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from offload.core.errors import QueueDoesNotExist, Stopping, TryAgain, WrongValue
from offload.core.lease import node_of
from offload.core.outcome import Unrun
from offload.core.task import Record, Scope, Seconds, Task
from offload.engine.claims import claim
from offload.engine.dispatcher import Dispatcher
from offload.engine.herald import Herald
from offload.engine.ledger import Ending
from offload.engine.parts import Parts, count_claimed
from offload.ports import Ask, Depth

log = logging.getLogger("offload.lessor")

ROUND_MAX = 64
"""How many of those who wait are asked for in one claim; the others come next."""

Lot = tuple[str, str]
"""A queue and a job: tasks that wait together."""
OwnersLot = tuple[str | None, str, str]
"""An owner, None for all of them, and a lot."""


class Wish(Record, frozen=True, kw_only=True):
    """What a worker elsewhere can do; empty means whatever there is."""

    queues: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    most: int = 1


@dataclass(eq=False, slots=True, kw_only=True)
class _Waiter:
    owner: str | None
    lots: frozenset[Lot]
    most: int
    answer: "asyncio.Future[list[Task]]"
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    """The store was asked once for all that it wants."""


class Lessor:
    """waiting worker -> claim -> lent. A task whose files are still to be fetched has that done first."""

    def __init__(self, parts: Parts, paused: set[str]) -> None:
        self._parts = parts
        self._paused = paused
        self._dispatcher: Dispatcher | None = None
        self._queues_of = {job.name: {job.queue} for job in parts.catalog if job.external}
        self._waiters: dict[_Waiter, None] = {}
        self._wanted: dict[Lot, Counter[str | None]] = defaultdict(Counter)
        """By lot, the owners for whose tasks workers wait."""
        self._hungry: set[OwnersLot] = set()
        """May have tasks ready: a lot is dropped when it gave less than asked, unless a hint came in between."""
        self._hints: set[OwnersLot] = set()
        self._wake = asyncio.Event()
        self._turn = 0
        self._lending: asyncio.Task[None] | None = None
        self._stopping = False
        self.herald: Herald | None = None
        """Posts the same tasks to workers that do not ask."""

    def serve(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        if self._parts.work_queue is not None:
            self.herald = Herald(self._parts, self._parts.work_queue, dispatcher, self._paused)

    def start(self, depths: Iterable[Depth]) -> None:
        for depth in depths:
            if depth.job in self._queues_of:  # a job that moved to another queue still has tasks in the old one
                self._queues_of[depth.job].add(depth.queue)
        self._lending = asyncio.get_running_loop().create_task(self._lend())
        if self.herald is not None:
            self.herald.start()

    def begin_stop(self) -> None:
        """Lend no more; those who wait hear so at once."""
        self._stopping = True
        for waiter in list(self._waiters):
            _tell(waiter, [])
        self._wake.set()

    async def stop(self) -> None:
        self.begin_stop()
        if self._lending is not None:
            await self._lending
        if self.herald is not None:
            await self.herald.stop()

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def came(self, task: Task) -> None:
        if self.herald is not None:
            self.herald.came(task)

    def ready(self, queue: str, job: str) -> None:
        """Tasks of this lot may be ready, of whatever job."""
        if job in self._queues_of:
            self._queues_of[job].add(queue)
            self._look_at([(queue, job)])

    def look_everywhere(self) -> None:
        self._look_at(self._wanted)

    def room_freed(self) -> None:
        """Lend what could not be fetched for before."""
        if self._hungry:
            self._wake.set()

    async def lease(self, scope: Scope, wish: Wish, *, wait_seconds: Seconds) -> list[Task]:
        """Return tasks that are lent now, at least one unless none came in time or this node stops.

        Raise QueueDoesNotExist, JobDoesNotExist, WrongValue, Stopping, StoreUnavailable.
        """
        lots = self._lots_of(wish)
        if self._stopping:
            raise Stopping("this server is stopping", retry_seconds=1)
        answer = asyncio.get_running_loop().create_future()
        waiter = _Waiter(owner=scope.owner, lots=lots, most=wish.most, answer=answer)
        self._waiters[waiter] = None
        for lot in lots:
            self._wanted[lot][waiter.owner] += 1
            self._look_at([lot], waiter.owner)
        tasks: list[Task] = []
        try:
            tasks = await self._answer(waiter, wait_seconds)
        finally:
            self._leave(waiter)
            if not tasks and answer.done() and not answer.cancelled() and answer.exception() is None:
                self.give_back(answer.result())  # whoever asked has gone meanwhile
        return tasks

    def give_back(self, tasks: Iterable[Task]) -> None:
        """Return tasks that were lent to whoever never heard of it: their attempts do not count."""
        assert self._dispatcher is not None
        for task in tasks:
            self._dispatcher.finish(Ending(task=task, outcome=Unrun()))

    def _lots_of(self, wish: Wish) -> frozenset[Lot]:
        catalog = self._parts.catalog
        for job in wish.jobs:
            if not catalog.find(job).external:
                raise WrongValue("jobs", f"job {job!r} is not external: this server runs it itself")
        known = {queue for queues in self._queues_of.values() for queue in queues}
        for queue in wish.queues:
            if queue not in known:
                if queue in catalog.queues:
                    raise WrongValue("queues", f"queue {queue!r} holds no external job")
                raise QueueDoesNotExist(queue, sorted(known))
        return frozenset(
            (queue, job)
            for job, queues in self._queues_of.items()
            for queue in queues
            if job in (wish.jobs or (job,)) and queue in (wish.queues or (queue,))
        )

    async def _answer(self, waiter: _Waiter, wait_seconds: Seconds) -> list[Task]:
        """Wait for the answer, but in any case until the store was asked for all of it once."""
        if waiter.lots:
            tried = asyncio.ensure_future(waiter.tried.wait())
            try:
                await asyncio.wait((tried, waiter.answer), return_when=asyncio.FIRST_COMPLETED)
            finally:
                tried.cancel()
        if not waiter.answer.done():
            await asyncio.wait((waiter.answer,), timeout=wait_seconds)
        return waiter.answer.result() if waiter.answer.done() else []

    def _leave(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            del self._waiters[waiter]
            for lot in waiter.lots:
                self._unwant(lot, waiter.owner)

    def _unwant(self, lot: Lot, owner: str | None) -> None:
        owners = self._wanted[lot]
        owners[owner] -= 1
        if not owners[owner]:
            del owners[owner]
            self._hungry.discard((owner, *lot))
        if not owners:
            del self._wanted[lot]

    def _look_at(self, lots: Iterable[Lot], owner: str | None = None) -> None:
        """Ask for these lots again, for all who want them or for those of one owner."""
        for lot in lots:
            owners = [owner] if owner is not None else self._wanted.get(lot, ())
            found = [(each, *lot) for each in owners]
            self._hungry.update(found)
            self._hints.update(found)
        if self._hungry:
            self._wake.set()

    async def _lend(self) -> None:
        while not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            while not self._stopping and (asks := self._asks()):
                await self._round(asks)

    async def _round(self, asks: list[tuple[_Waiter, Ask]]) -> None:
        try:
            claimed = await self._claim([ask for _, ask in asks])
        except TryAgain as error:
            self._fail([waiter for waiter, _ in asks], error)
            return
        except Exception as error:
            log.exception("cannot lend tasks")
            self._fail([waiter for waiter, _ in asks], error)
            return
        shares = _shares(asks, claimed)
        for (waiter, ask), share in zip(asks, shares, strict=True):
            if len(share) < ask.limit:
                self._hungry -= {(ask.owner, ask.queue, job) for job in ask.jobs} - self._hints
            self._hand_over(waiter, share)

    def _asks(self) -> list[tuple[_Waiter, Ask]]:
        """Return what to claim for those who wait; each asks for one queue, starting with another each time."""
        assert self._dispatcher is not None
        self._hints.clear()
        found: list[tuple[_Waiter, Ask]] = []
        if self._dispatcher.fetches_enough:
            for waiter in self._waiters:
                waiter.tried.set()
            return found
        for waiter in self._waiters:
            by_queue: dict[str, list[str]] = {}
            for queue, job in sorted(waiter.lots):
                if (waiter.owner, queue, job) in self._hungry and queue not in self._paused:
                    by_queue.setdefault(queue, []).append(job)
            if not by_queue:
                waiter.tried.set()
                continue
            self._turn += 1
            queue = sorted(by_queue)[self._turn % len(by_queue)]
            ask = Ask(queue=queue, jobs=tuple(by_queue[queue]), limit=waiter.most, owner=waiter.owner)
            found.append((waiter, ask))
            if len(found) == ROUND_MAX:
                break
        return found

    async def _claim(self, asks: list[Ask]) -> list[Task]:
        parts = self._parts
        now = parts.clock.now()
        with parts.traffic.moving():
            claimed = await claim(parts, asks, node=node_of(secrets.token_bytes(8)))
            for task in claimed:
                count_claimed(parts, task, now, here=False)
        return [await self._shortened(task) for task in claimed]

    async def _shortened(self, task: Task) -> Task:
        """Let a lease end with the time that its job gives an attempt."""
        assert task.lease_until is not None
        until = self._parts.ends_by(task)
        if until is None or until >= task.lease_until:
            return task
        with contextlib.suppress(TryAgain):  # it may be held for longer, then: who holds it knows when to end
            await self._parts.store.renew([task], lease_until=until)
        return msgspec.structs.replace(task, lease_until=until)

    def _hand_over(self, waiter: _Waiter, tasks: list[Task]) -> None:
        assert self._dispatcher is not None
        ready = [task for task in tasks if not any(file.url for file in task.files)]
        for task in tasks:
            if any(file.url for file in task.files):
                self._dispatcher.fetch(task)
        if waiter.answer.done() or waiter not in self._waiters:
            self.give_back(ready)
        elif ready:
            _tell(waiter, ready)
            self._leave(waiter)

    def _fail(self, waiters: Iterable[_Waiter], error: Exception) -> None:
        for waiter in waiters:
            if waiter in self._waiters and not waiter.answer.done():  # else nobody would hear it
                waiter.answer.set_exception(error)
            self._leave(waiter)


def _tell(waiter: _Waiter, tasks: list[Task]) -> None:
    if not waiter.answer.done():
        waiter.answer.set_result(tasks)


def _shares(asks: Sequence[tuple[_Waiter, Ask]], claimed: Iterable[Task]) -> list[list[Task]]:
    """Give each claimed task to the first ask that it fits: an ask takes all it can before a later one gets any."""
    shares: list[list[Task]] = [[] for _ in asks]
    for task in claimed:
        for (_, ask), share in zip(asks, shares, strict=True):
            fits = task.queue == ask.queue and task.job in ask.jobs and ask.owner in (None, task.owner)
            if fits and len(share) < ask.limit:
                share.append(task)
                break
    return shares
