"""Small loops with one duty each: the reaper ends what time has ended, the janitor drops what is kept no longer."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from offload.core.lease import is_lent
from offload.core.outcome import Failed
from offload.core.retry import Retry
from offload.core.task import ALL, Reason, Seconds, Status, Task, TaskError
from offload.core.transitions import Change, Event, Facts, after_failure, decide
from offload.engine.dispatcher import Dispatcher
from offload.engine.parts import Parts, count_left, count_queues
from offload.engine.removals import Removals
from offload.engine.repeating import repeatable
from offload.ports import Filter, Retention

log = logging.getLogger("offload.upkeep")

BATCH = 200
PAUSE_SECONDS = 0.001
DUE_SECONDS_MIN, DUE_SECONDS_MIN_SHARED = 0.005, 0.05
"""Between two sweeps for due times; longer when other nodes sweep the same store for the same times."""
TROUBLE_SECONDS = 1.0
"""And longer while the store cannot be asked: what was due stays due."""
ENTER_ROUNDS_MAX = 100
"""So often in one sweep; what is left then comes in the next, which is at once."""
PATIENT_BEATS = 2
"""So many heartbeats after this node came, others who hold leases have for renewing them."""
SWEEP_SECONDS = 86_400.0
"""How often blobs of no task are looked for, besides once after the start: only a crash leaves any."""
PURGE_HOLD_SECONDS = 86_400.0
"""After the wall clock jumped, nothing is purged for so long: the jump may be a mistake, and a purge is for ever."""


class FollowingClock(Protocol):
    def follow(self) -> Seconds: ...


class Reaper:
    """Lost leases go back or fail, passed deadlines fail, due times wake the dispatcher, counts are put right."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._dispatcher: Dispatcher | None = None
        self._due_at: Seconds | None = None
        self._told_at: Seconds | None = None
        """The earliest time that was told since the store was asked for the next."""
        self._wake = asyncio.Event()
        self._patient_until: Seconds = 0.0
        self.trouble: str | None = None
        """What the store said last when it could not serve; None when all is well."""

    def serve(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def due_later(self, at: Seconds) -> None:
        """Something is to be done at `at`: a delayed task, a retry or a deadline."""
        self._told_at = at if self._told_at is None else min(at, self._told_at)
        if self._due_at is None or at < self._due_at:
            self._due_at = at
            self._wake.set()

    async def run(self) -> None:
        parts = self._parts
        self._be_patient(PATIENT_BEATS * parts.timing.heartbeat_seconds)
        while True:
            self._wake.clear()
            self.trouble = await repeatable("reaper", self._sweep)
            if self.trouble is not None:  # a whole lease, as if all had been renewed when the store came back
                self._be_patient(parts.timing.lease_seconds)
            seconds = parts.timing.sweep_seconds * (1.0 if parts.ringer.alone else 0.8 + 0.2 * parts.chance())
            if self._due_at is not None:
                least = DUE_SECONDS_MIN if parts.ringer.alone else DUE_SECONDS_MIN_SHARED
                least = least if self.trouble is None else TROUBLE_SECONDS
                seconds = min(seconds, max(least, self._due_at - parts.clock.now()))
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _be_patient(self, seconds: Seconds) -> None:
        """Leases that ended while the store, or this node, could not be reached are renewed first by those who can."""
        self._patient_until = self._parts.clock.monotonic() + seconds

    def _may_be_renewed(self, task: Task) -> bool:
        """Tell whether somebody may be there who holds this lease: on a node that is alone, only workers elsewhere."""
        if self._parts.clock.monotonic() >= self._patient_until or task.status is not Status.RUNNING:
            return False
        return not self._parts.ringer.alone or is_lent(task)

    async def _sweep(self) -> None:
        parts, dispatcher = self._parts, self._dispatcher
        assert dispatcher is not None
        now = parts.clock.now()
        found = await parts.store.overdue(now=now, limit=BATCH)
        overdue = [task for task in found if not dispatcher.holds(task) and not self._may_be_renewed(task)]
        changes = [self._change(task, now) for task in overdue]
        with parts.traffic.moving():
            for change, written in zip(changes, await parts.store.apply(changes) if changes else [], strict=True):
                if written:
                    self._written(change, dispatcher)
        if parts.ringer.alone:  # else the queues are counted more often, by another loop
            await count_queues(parts)
        self._told_at = None  # what is told of from here on may not be in the answer
        times = (await self._next_due(now), self._told_at)
        self._due_at = min((at for at in times if at is not None), default=None)
        dispatcher.look_everywhere()
        if len(overdue) == BATCH:
            self.due_later(now)

    async def _next_due(self, now: Seconds) -> Seconds | None:
        """Have all that came due enter the line: claims do that, but only a part at a time, and where places are free.

        Else an idle worker would wait behind thousands of tasks of other queues that came due with its own.
        """
        store, node = self._parts.store, self._parts.node
        due_at = await store.next_due(now)
        for _ in range(ENTER_ROUNDS_MAX):
            if due_at is None or due_at > now:
                break
            await store.claim([], node=node, now=now, lease_until=now)
            due_at = await store.next_due(now)
        return due_at

    def _change(self, task: Task, now: Seconds) -> Change:
        facts = Facts(now=now, keep_seconds=self._parts.timing.payload_seconds)
        if task.status is Status.QUEUED:
            return decide(task, Event.EXPIRE, facts)
        if any(file.url for file in task.files):  # an attempt begins when all of its files are here: this one never did
            return decide(task, Event.CANCEL if task.cancel_requested else Event.RELEASE, facts)
        lost = self._lost_lease(task, now) if is_lent(task) else _lost_node(task)
        job = self._parts.catalog.jobs.get(task.job)
        return after_failure(task, lost, Retry() if job is None else job.retry, facts, chance=self._parts.chance())

    def _lost_lease(self, task: Task, now: Seconds) -> Failed:
        ends_by = self._parts.ends_by(task)
        if ends_by is not None and ends_by <= now and task.started_at is not None:
            message = f"the job ran longer than its limit of {ends_by - task.started_at:g} s"
            return Failed(reason=Reason.TIMEOUT, error=TaskError(type="Timeout", message=message))
        message = f"the worker that had attempt {task.attempt} under {task.node} gave no sign of life until its end"
        error = TaskError(type="LeaseEnded", message=message)
        return Failed(reason=Reason.WORKER_LOST, error=error, worker_died=True)

    def _written(self, change: Change, dispatcher: Dispatcher) -> None:
        if change.before.status is Status.RUNNING and is_lent(change.before):
            self._parts.stats.leases_ended[change.before.job] += 1
        if change.after.status is Status.QUEUED:
            self._parts.traffic.returned(change.before)
            dispatcher.hint(change.after)
        else:
            count_left(self._parts, change)
        self._parts.hub.publish(change.after.id)


def _lost_node(task: Task) -> Failed:
    message = f"the node {task.node} that ran attempt {task.attempt} was lost"
    error = TaskError(type="NodeLost", message=message)
    return Failed(reason=Reason.WORKER_LOST, error=error, retry_after_seconds=0.0)


class Janitor:
    """Drops payloads, old rows, old keys, forgotten uploads and blobs that belong to no task, in small batches.

    The first of the nodes that share a store is enough; two that take themselves for it do no harm.
    """

    def __init__(self, parts: Parts, clock: FollowingClock, is_first: Callable[[], bool], removals: Removals) -> None:
        self._parts = parts
        self._clock = clock
        self._is_first = is_first
        self._removals = removals
        self._hold_until: Seconds = 0.0

    async def run(self) -> None:
        swept_at = -SWEEP_SECONDS
        while True:
            self._follow_wall_clock()
            is_first = self._is_first()
            await repeatable("janitor", self._removals.drop_left)
            if is_first and self._parts.clock.monotonic() >= self._hold_until:
                await repeatable("janitor", self._cancel_forgotten)
                await repeatable("janitor", self._purge)
            if is_first and self._parts.clock.monotonic() - swept_at > SWEEP_SECONDS:
                swept_at = self._parts.clock.monotonic()
                await repeatable("janitor", self._sweep_orphans)
            await asyncio.sleep(self._parts.timing.sweep_seconds * 2)

    def _follow_wall_clock(self) -> None:
        jump = self._clock.follow()
        if jump:
            log.warning("the wall clock jumped by %.0f s; nothing is purged for a day", jump)
            self._hold_until = self._parts.clock.monotonic() + PURGE_HOLD_SECONDS

    async def _cancel_forgotten(self) -> None:
        """A task that was created and never run is kept as long as a finished one, then canceled."""
        parts = self._parts
        now = parts.clock.now()
        forgotten = Filter(statuses=(Status.CREATED,), created_before=now - parts.timing.payload_seconds, limit=BATCH)
        facts = Facts(now=now, keep_seconds=0.0)
        changes = [decide(task, Event.CANCEL, facts) for task in await parts.store.find(ALL, forgotten)]
        for change, written in zip(changes, await parts.store.apply(changes) if changes else [], strict=True):
            if written:
                count_left(parts, change)
                parts.hub.publish(change.after.id)

    async def _purge(self) -> None:
        parts, timing = self._parts, self._parts.timing
        while True:
            now = parts.clock.now()
            purged = await parts.store.purge(
                Retention(now=now, audit_seconds=timing.audit_seconds, key_seconds=timing.key_seconds, limit=BATCH)
            )
            await self._removals.drop(f"t/{task_id}" for task_id in purged.task_ids)
            parts.stats.purged_payloads += len(purged.task_ids)
            parts.stats.purged_rows += purged.rows
            files = await parts.files.purge_files(created_before=now - timing.file_seconds, limit=BATCH)
            await self._removals.drop(f"f/{file_id}" for file_id in files)
            if not (purged.task_ids or purged.rows or purged.keys or files):
                return
            await asyncio.sleep(0.05)  # let those who wait for the writer go first

    async def _sweep_orphans(self) -> None:
        """Delete what a crash between storing a blob and committing its row left behind.

        Only what is old goes: a client may send a task of the same id again just now, whose row is still to come.
        """
        parts, old = self._parts, self._parts.timing.orphan_seconds
        for prefix in await parts.blobs.prefixes("t", older_than_seconds=old):
            task = await parts.store.get(ALL, prefix.rpartition("/")[2])
            if task is None or task.payload_dropped:
                await parts.blobs.delete(prefix, older_than_seconds=old)
            await asyncio.sleep(PAUSE_SECONDS)  # there may be a million; nobody waits for this
        for prefix in await parts.blobs.prefixes("f", older_than_seconds=old):
            if await parts.files.get_file(ALL, prefix.rpartition("/")[2]) is None:
                await parts.blobs.delete(prefix, older_than_seconds=old)
        # uploads by link that nobody confirmed in time
        old = parts.timing.file_seconds
        for prefix in await parts.blobs.prefixes("u", older_than_seconds=old):
            await parts.blobs.delete(prefix, older_than_seconds=old)
