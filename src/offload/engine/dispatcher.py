"""Brings waiting tasks to free workers, keeps their leases alive and hears how they end."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection

import msgspec

from offload.core.errors import TryAgain
from offload.core.lease import Lease, is_lent, lease_of
from offload.core.outcome import Failed, Outcome, Stopped, Unrun
from offload.core.ring import Lot
from offload.core.task import ALL, Seconds, Status, Task, TaskEvent
from offload.core.transitions import Change
from offload.engine.announcer import Announcer
from offload.engine.claims import claim
from offload.engine.holds import Hold, Line
from offload.engine.hunger import Hunger
from offload.engine.inputs import Inputs
from offload.engine.ledger import Ending, Ledger
from offload.engine.parts import Parts, count_claimed, count_left
from offload.engine.taker import Taker
from offload.ports import Ask, Note, Room, Work

log = logging.getLogger("offload.dispatcher")


class Dispatcher:
    """free place -> claim -> run -> record. Hears of attempts as the pool's Listener."""

    def __init__(self, parts: Parts, paused: set[str], on_later: Callable[[Seconds], None], elsewhere: Line) -> None:
        self._parts = parts
        self._paused = paused
        self._on_later = on_later
        self._elsewhere = elsewhere
        self._recording: dict[Lease, asyncio.Future[Change | None]] = {}
        """Ends of attempts that ran elsewhere: who told of one waits for it."""
        self._held: dict[str, Hold] = {}
        self._hunger = Hunger({job.name: job.queue for job in parts.catalog if not job.external})
        self._external = frozenset(job.name for job in parts.catalog if job.external)
        self._wake = asyncio.Event()
        self._claiming = True
        self._loops: list[asyncio.Task[None]] = []
        self._inputs = Inputs(parts, self._fetched, self._ready, self._never_begun, elsewhere.room_freed)
        self._arrived: deque[Work] = deque()
        """Held, with their files fetched: they wait for a place, and nothing is claimed into it meanwhile."""
        self._ledger = Ledger(parts, self._recorded)
        self._untold: set[Lot] = set()
        """Lots that got tasks here; the other nodes are told of those for which there is no place here."""
        self._looked_at: Seconds | None = None
        self._announcer = Announcer(parts.broker, parts.stats) if parts.broker is not None else None
        self._taker = Taker(parts.broker, self, clock=parts.clock, stats=parts.stats) if parts.broker else None

    async def start(self) -> None:
        await self._parts.workers.start(self)
        self._looked_at = self._parts.clock.now()  # about to
        self._hunger.everything(await self._parts.store.depths())
        self._wake.set()
        spawn = asyncio.get_running_loop().create_task
        self._loops = [spawn(self._dispatch()), spawn(self._renew())]
        if self._announcer is not None and self._taker is not None:
            self._announcer.start()
            own = self.jobs()
            self._taker.start([(job.queue, job.name) for job in self._parts.catalog.jobs.values() if job.name in own])

    async def stop(self, grace_seconds: Seconds) -> None:
        """Claim no more, let attempts run until the grace ends, give back the rest; nothing is lost or burnt."""
        self._claiming, until = False, self._parts.clock.monotonic() + grace_seconds
        self._wake.set()
        dispatching, renewing = self._loops
        await dispatching
        if self._taker is not None:
            await self._taker.stop()
        await self._inputs.stop()
        while self._arrived:
            self.ended(self._arrived.popleft().task, Unrun(), ())
        await self._parts.workers.stop(grace_seconds=grace_seconds)
        await self._ledger.settled(until)
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        if self._held:
            log.error("%d attempts never ended; their leases will", len(self._held))
        if self._announcer is not None:
            await self._announcer.stop()  # last: what was given back is announced

    def hint(self, task: Task) -> None:
        """A task became QUEUED: with a broker, whoever gets the token claims it."""
        assert task.run_at is not None
        if task.run_at > self._parts.clock.now():
            self._on_later(task.run_at)
            self._parts.ringer.due(task.run_at)
            self._elsewhere.came(task)
        elif task.job in self._external:  # nobody knows where workers wait for it, so every node looks
            self._parts.ringer.ready(task.queue, task.job)
            self.ready(task.queue, task.job)
            self._elsewhere.came(task)
        elif self._announcer is not None and self._announcer.announce(task):
            return  # whoever gets the token claims it
        elif self._claiming:
            self._untold.add((task.queue, task.job))
            self.ready(task.queue, task.job)
        else:
            self._parts.ringer.ready(task.queue, task.job)

    def ready(self, queue: str, job: str) -> None:
        """Tasks of this lot may be ready, whoever found that out."""
        self._hunger.hint(queue, job)
        self._wake.set()
        self._elsewhere.ready(queue, job)

    def look_everywhere(self) -> None:
        self._hunger.everything()
        self._wake.set()
        self._elsewhere.look_everywhere()
        if self._taker is not None:
            self._taker.room_freed()

    def places(self, lot: Lot) -> int:
        queue, job = lot
        if not self._claiming or queue in self._paused:
            return 0
        return next((room.places for room in self._rooms() if job in room.jobs), 0)

    def broker_trouble(self) -> str | None:
        """Return what keeps the broker from helping, None when nothing does or there is none."""
        if self._announcer is None or self._taker is None:
            return None
        return self._announcer.trouble or self._taker.trouble

    def holds(self, task: Task) -> bool:
        return (hold := self._hold_of(task)) is not None and hold.task.attempt == task.attempt

    def held(self) -> int:
        return len(self._held)

    def jobs(self) -> list[str]:
        """Return what the workers of this node run."""
        return self._parts.workers.jobs()

    def has_workers(self) -> bool:
        return bool(self._parts.workers.jobs())

    @property
    def lends(self) -> bool:
        """There are jobs whose tasks workers elsewhere may wait for."""
        return bool(self._external)

    def looked_at(self) -> Seconds | None:
        """Return when this node last asked for tasks, or had no place for one; None when it has no workers."""
        if not self.has_workers():
            return None
        has_room = any(room.places > 0 for room in self._parts.workers.rooms())
        return self._looked_at if has_room else self._parts.clock.now()

    def cancel(self, task: Task) -> bool:
        """Stop an attempt of this node; `task` is the newest state, with its flag set. Tell whether it is here."""
        if not self.holds(task) or (task.node != self._parts.node and not is_lent(task)):
            return False
        self._held[task.id] = msgspec.structs.replace(self._held[task.id], task=task)
        self._stop_attempt(task)
        return True

    async def stop_canceled(self, task_ids: Collection[str]) -> None:
        """Stop those of these that run here and were canceled elsewhere."""
        for hold in [hold for hold in self._held.values() if hold.task.id in task_ids]:
            task = await self._parts.store.get(ALL, hold.task.id)
            if task is not None and task.status is Status.RUNNING and task.cancel_requested:
                self.cancel(task)

    def noted(self, note: Note) -> None:
        if self._hold_of(note.task) is not None:
            self._ledger.note(note)

    def ended(self, task: Task, outcome: Outcome, last_words: tuple[TaskEvent, ...]) -> None:
        hold = self._held.get(task.id)
        if hold is None:
            return
        newest = hold.task if hold.is_of(task) else task  # an old one's end is refused by the store, and cleared away
        self._count_end(newest, outcome)
        self._ledger.end(Ending(task=newest, outcome=outcome, last_words=last_words))

    @property
    def fetches_enough(self) -> bool:
        """As many files are fetched as may be: what needs more of it should not be claimed yet."""
        return self._inputs.fetches_enough

    def fetch(self, task: Task) -> None:
        """Bring the files here that a task to be lent names by URL, then give it back to the head of its line."""
        self._hold(task)
        self._inputs.prepare(task)

    def note(self, note: Note) -> None:
        """Note what an attempt that runs elsewhere said."""
        self._ledger.note(note)

    def finish(self, ending: Ending) -> "asyncio.Future[Change | None]":
        """Record the end of an attempt that ran elsewhere, and hold its lease until that is done; None: it was lost."""
        lease = lease_of(ending.task)
        if lease not in self._recording:
            self._recording[lease] = asyncio.get_running_loop().create_future()
            self._hold(ending.task)
            self._count_end(ending.task, ending.outcome)
            self._ledger.end(ending)
        return self._recording[lease]

    def room_freed(self) -> None:
        if self._hunger or self._arrived:
            self._wake.set()
        if self._taker is not None:
            self._taker.room_freed()

    def _stop_attempt(self, task: Task) -> None:
        """Wherever it is: its files being fetched, waiting for a place, running, or its result on the way."""
        self._inputs.cancel(task)
        self._ledger.cancel(task)
        self._parts.workers.cancel(task)
        attempt = (task.id, task.attempt)
        for work in [work for work in self._arrived if (work.task.id, work.task.attempt) == attempt]:
            self._arrived.remove(work)
            self.ended(task, Stopped(), ())

    def _count_end(self, task: Task, outcome: Outcome) -> None:
        stats = self._parts.stats
        never_begun = isinstance(outcome, Unrun) or (isinstance(outcome, Failed) and not outcome.begun)
        if not never_begun and task.started_at is not None:
            seconds = max(0.0, self._parts.clock.now() - task.started_at)
            stats.run_seconds[task.job].add(seconds)
            self._parts.traffic.ran(task.job, seconds)
        if isinstance(outcome, Failed) and outcome.worker_died:
            stats.worker_deaths += 1
        self._parts.traces.ended(task, outcome)

    def _recorded(self, change: Change | None, task: Task) -> None:
        """The ledger has written an attempt's end; None: the task had moved on and the result was dropped."""
        if self._hold_of(task) is not None:  # else it was claimed anew before this could be told
            del self._held[task.id]
        if is_lent(task) and (recording := self._recording.pop(lease_of(task), None)) is not None:
            recording.set_result(change)
        parts = self._parts
        if task.files:
            again = change is not None and change.after.status is Status.QUEUED
            parts.blobs.release(f"t/{task.id}", again=again)
        if change is None:
            parts.stats.stale_results += 1
        elif change.after.status is Status.QUEUED:
            parts.traffic.returned(change.before)
            if change.after.error is not None and change.after.attempt == task.attempt:
                parts.stats.retries[task.job] += 1
            self.hint(change.after)
        else:
            count_left(parts, change)
        parts.hub.publish(task.id)

    async def _dispatch(self) -> None:
        while self._claiming:
            await self._wake.wait()
            self._wake.clear()
            while self._claiming:
                try:
                    if not (asks := self._asks()):
                        break
                    claimed = await self._claim(asks)
                    self._hunger.fed(asks, claimed)
                    if self._taker is not None:
                        self._taker.fed(asks, claimed)
                except Exception as error:
                    log.warning("cannot claim, trying again: %s", error, exc_info=not isinstance(error, TryAgain))
                    await asyncio.sleep(1.0)
            self._tell_others()

    def _tell_others(self) -> None:
        """Ring for what came here and finds no place here: a node that has one looks at once."""
        for lot in self._hunger.still(self._untold):
            self._parts.ringer.ready(*lot)
        self._untold.clear()

    def _asks(self) -> list[Ask]:
        """Hand over what waits for a place, then return what to claim into the others.

        Here and nowhere else, for what is being claimed has its place already.
        """
        self._seat_arrived()
        return self._hunger.asks(self._rooms(), self._paused)

    def _rooms(self) -> list[Room]:
        """Return the free places without those that are promised to tasks whose files are or have been prepared."""
        rooms = self._parts.workers.rooms()
        taken = self._inputs.taken()
        taken.update(work.task.job for work in self._arrived)
        if not taken:
            return rooms
        return [
            msgspec.structs.replace(room, places=room.places - sum(taken[job] for job in room.jobs)) for room in rooms
        ]

    async def _claim(self, asks: list[Ask]) -> list[Task]:
        parts = self._parts
        now = parts.clock.now()
        if self._taker is not None:
            self._taker.asking(asks)
        with parts.traffic.moving():
            claimed = await claim(parts, asks, node=parts.node)
            self._looked_at = now
            for task in claimed:
                self._hold(task)
                count_claimed(parts, task, now)
                if task.files:
                    self._inputs.prepare(task)
                else:
                    self._run(Work(task=task))
        return claimed

    def _hold(self, task: Task) -> None:
        if (old := self._held.get(task.id)) is not None:
            self._stop_attempt(old.task)  # it lost its lease, and the task has come back to this very node
        self._held[task.id] = Hold(task=task, since=task.version)

    def _hold_of(self, task: Task) -> Hold | None:
        """Return what this node has of a task, None when that is not the attempt that `task` is of."""
        hold = self._held.get(task.id)
        return hold if hold is not None and hold.is_of(task) else None

    def _run(self, work: Work) -> None:
        if not self._claiming:
            self.ended(work.task, Unrun(), ())
        else:
            self._parts.workers.run(msgspec.structs.replace(work, traceparent=self._parts.traces.of(work.task)))

    def _fetched(self, task: Task) -> None:
        if (hold := self._hold_of(task)) is not None:
            self._held[task.id] = hold.with_files(task)

    def _ready(self, work: Work) -> None:
        """The files of a task are in place; it runs as soon as a worker has one for it."""
        if (hold := self._hold_of(work.task)) is None:
            return
        newest = hold.task
        if newest.cancel_requested:
            self.ended(newest, Stopped(), ())
            self.room_freed()
            return
        if is_lent(newest):
            self.ended(newest, Unrun(), ())
            return
        self._arrived.append(msgspec.structs.replace(work, task=newest))
        self._wake.set()

    def _never_begun(self, task: Task, outcome: Outcome) -> None:
        self.ended(task, outcome, ())
        self.room_freed()

    def _seat_arrived(self) -> None:
        """Hand over what waits for a place, first come first served in each lane."""
        if not self._arrived:
            return
        rooms = self._parts.workers.rooms()
        lane_of = {job: room.lane for room in rooms for job in room.jobs}
        places = {room.lane: room.places for room in rooms}
        for work in list(self._arrived):
            lane = lane_of.get(work.task.job)  # none while its workers are away
            if lane is not None and places[lane] > 0:
                places[lane] -= 1
                self._arrived.remove(work)
                self._run(work)

    async def _renew(self) -> None:
        seconds = self._parts.timing.heartbeat_seconds
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.renew()
                seconds = self._parts.timing.heartbeat_seconds
            except Exception as error:
                log.warning("cannot renew leases, trying again: %s", error, exc_info=not isinstance(error, TryAgain))
                seconds = min(1.0, seconds)

    async def renew(self) -> None:
        """Prolong all leases of this node in one call; stop what was canceled elsewhere, or is not ours any more."""
        timing, now = self._parts.timing, self._parts.clock.now()
        held = [hold for hold in self._held.values() if hold.needs_renewal(now, timing)]
        if not held:
            return
        lease_until = now + timing.lease_seconds
        renewals = await self._parts.store.renew([hold.task for hold in held], lease_until=lease_until)
        for hold, renewal in zip(held, renewals, strict=True):
            current = self._held.get(hold.task.id)
            if current is None or current.since != hold.since:
                continue
            task = msgspec.structs.replace(current.task, lease_until=lease_until)
            to_stop = renewal.cancel_requested and not task.cancel_requested
            if to_stop:
                task = msgspec.structs.replace(task, cancel_requested=True)
            elif not renewal.held:
                log.warning("a lease was lost: attempt %d is stopped", task.attempt, extra={"task": task.id})
            self._held[task.id] = msgspec.structs.replace(current, task=task)
            if to_stop or not renewal.held:
                self._stop_attempt(task)
