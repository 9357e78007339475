"""Brings waiting tasks to free workers, keeps their leases alive and hears how they end."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

import msgspec

from offload.core.errors import TryAgain
from offload.core.outcome import Failed, Outcome, Stopped, Unrun
from offload.core.task import Seconds, Status, Task, TaskEvent
from offload.core.transitions import Change
from offload.engine.hunger import Hunger
from offload.engine.inputs import Inputs
from offload.engine.ledger import Ending, Ledger
from offload.engine.parts import Parts, count_left
from offload.ports import Ask, Note, Room, Work

log = logging.getLogger("offload.dispatcher")


class Dispatcher:
    """free place -> claim -> run -> record. Hears of attempts as the pool's Listener."""

    def __init__(self, parts: Parts, paused: set[str], on_later: Callable[[Seconds], None]) -> None:
        self._parts = parts
        self._paused = paused
        self._on_later = on_later
        self._held: dict[int, Task] = {}
        self._hunger = Hunger({job.name: job.queue for job in parts.catalog.jobs.values()})
        self._wake = asyncio.Event()
        self._claiming = True
        self._loops: list[asyncio.Task[None]] = []
        self._inputs = Inputs(parts, self._ready, self._never_begun)
        self._arrived: deque[Work] = deque()
        """Held, with their files fetched: they wait for a place, and nothing is claimed into it meanwhile."""
        self._ledger = Ledger(parts, self._recorded)

    async def start(self) -> None:
        await self._parts.workers.start(self)
        self._hunger.everything(await self._parts.store.depths())
        self._wake.set()
        spawn = asyncio.get_running_loop().create_task
        self._loops = [spawn(self._dispatch()), spawn(self._renew())]

    async def stop(self, grace_seconds: Seconds) -> None:
        """Claim no more, let attempts run until the grace ends, give back the rest; nothing is lost or burnt."""
        self._claiming = False
        self._wake.set()
        dispatching, renewing = self._loops
        await dispatching
        await self._inputs.stop()
        while self._arrived:
            self.ended(self._arrived.popleft().task, Unrun(), ())
        await self._parts.workers.stop(grace_seconds=grace_seconds)
        await self._ledger.settled()
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        if self._held:
            log.error("%d attempts never ended; their leases will", len(self._held))

    def hint(self, task: Task) -> None:
        """A task became QUEUED."""
        assert task.run_at is not None
        if task.run_at <= self._parts.clock.now():
            self._hunger.hint(task.queue, task.job)
            self._wake.set()
        else:
            self._on_later(task.run_at)

    def look_everywhere(self) -> None:
        self._hunger.everything()
        self._wake.set()

    def holds(self, task: Task) -> bool:
        return task.key in self._held

    def held(self) -> int:
        return len(self._held)

    def cancel(self, task: Task) -> None:
        """Stop an attempt of this node; `task` is the newest state, with its flag set."""
        if task.key in self._held:
            self._held[task.key] = task
            self._stop_attempt(task)

    def noted(self, note: Note) -> None:
        if note.task.key in self._held:
            self._ledger.note(note)

    def ended(self, task: Task, outcome: Outcome, last_words: tuple[TaskEvent, ...]) -> None:
        newest = self._held.get(task.key)
        if newest is None:
            return
        self._count_end(newest, outcome)
        self._ledger.end(Ending(task=newest, outcome=outcome, last_words=last_words))

    def room_freed(self) -> None:
        if self._hunger or self._arrived:
            self._wake.set()

    def _stop_attempt(self, task: Task) -> None:
        """Wherever it is: its files being fetched, waiting for a place, running, or its result on the way."""
        self._inputs.cancel(task)
        self._ledger.cancel(task)
        self._parts.workers.cancel(task)
        for work in [work for work in self._arrived if work.task.key == task.key]:
            self._arrived.remove(work)
            self.ended(task, Stopped(), ())

    def _count_end(self, task: Task, outcome: Outcome) -> None:
        stats = self._parts.stats
        never_begun = isinstance(outcome, Unrun) or (isinstance(outcome, Failed) and not outcome.begun)
        if not never_begun and task.started_at is not None:
            seconds = max(0.0, self._parts.clock.now() - task.started_at)
            stats.run_seconds[task.job] += seconds
            self._parts.traffic.ran(task.job, seconds)
        if isinstance(outcome, Failed) and outcome.worker_died:
            stats.worker_deaths += 1

    def _recorded(self, change: Change | None, task: Task) -> None:
        """The ledger has written an attempt's end; None: the task had moved on and the result was dropped."""
        self._held.pop(task.key, None)
        parts = self._parts
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
            while self._claiming and (asks := self._asks()):
                try:
                    self._hunger.fed(asks, await self._claim(asks))
                except TryAgain as error:
                    log.warning("cannot claim, trying again: %s", error)
                    await asyncio.sleep(1.0)

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
        claimed = await parts.store.claim(asks, node=parts.node, now=now, lease_until=now + parts.timing.lease_seconds)
        for task in claimed:
            self._held[task.key] = task
            parts.traffic.claimed(task)
            parts.stats.attempts[task.job] += 1
            parts.stats.wait_seconds[task.job] += max(0.0, now - (task.run_at or now))
            parts.hub.publish(task.id)
            if task.files:
                self._inputs.prepare(task)
            else:
                self._run(Work(task=task))
        return claimed

    def _run(self, work: Work) -> None:
        if not self._claiming:
            self.ended(work.task, Unrun(), ())
        else:
            self._parts.workers.run(work)

    def _ready(self, work: Work) -> None:
        """The files of a task are in place; it runs as soon as a worker has one for it."""
        newest = self._held.get(work.task.key)
        if newest is None:
            return
        newest = self._held[newest.key] = msgspec.structs.replace(newest, files=work.task.files)
        if newest.cancel_requested:
            self.ended(newest, Stopped(), ())
            self.room_freed()
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
            lane = lane_of[work.task.job]
            if places[lane] > 0:
                places[lane] -= 1
                self._arrived.remove(work)
                self._run(work)

    async def _renew(self) -> None:
        timing = self._parts.timing
        while True:
            await asyncio.sleep(timing.heartbeat_seconds)
            held = [task for task in self._held.values() if self._needs_renewal(task)]
            if not held:
                continue
            lease_until = self._parts.clock.now() + timing.lease_seconds
            try:
                renewals = await self._parts.store.renew(held, lease_until=lease_until)
            except TryAgain as error:
                log.warning("cannot renew %d leases, trying again: %s", len(held), error)
                continue
            for task, renewal in zip(held, renewals, strict=True):
                current = self._held.get(task.key)
                if current is None:
                    continue
                current = msgspec.structs.replace(current, lease_until=lease_until)
                if renewal.cancel_requested and not current.cancel_requested:
                    current = msgspec.structs.replace(current, cancel_requested=True)
                    self._held[task.key] = current
                    self._stop_attempt(current)
                else:
                    self._held[task.key] = current

    def _needs_renewal(self, task: Task) -> bool:
        """Short tasks end before this is ever true: their leases cost nothing."""
        assert task.lease_until is not None
        timing = self._parts.timing
        return task.lease_until - self._parts.clock.now() < timing.lease_seconds - timing.heartbeat_seconds / 2
