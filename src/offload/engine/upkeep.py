"""Small loops with one duty each: the reaper ends what time has ended, the janitor drops what is kept no longer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from offload.core.errors import TryAgain
from offload.core.outcome import Failed
from offload.core.retry import Retry
from offload.core.task import ALL, Reason, Seconds, Status, Task, TaskError
from offload.core.transitions import Change, Event, Facts, after_failure, decide
from offload.engine.dispatcher import Dispatcher
from offload.engine.parts import Parts, count_left
from offload.ports import Filter, Retention

log = logging.getLogger("offload.upkeep")

BATCH = 200
PAUSE_SECONDS = 0.001
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
        self._wake = asyncio.Event()
        self.trouble: str | None = None
        """What the store said last when it could not serve; None when all is well."""

    def serve(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def due_later(self, at: Seconds) -> None:
        """Something is to be done at `at`: a delayed task, a retry or a deadline."""
        if self._due_at is None or at < self._due_at:
            self._due_at = at
            self._wake.set()

    async def run(self) -> None:
        while True:
            self.trouble = await repeatable("reaper", self._sweep)
            seconds = self._parts.timing.sweep_seconds
            if self._due_at is not None:
                seconds = min(seconds, max(0.005, self._due_at - self._parts.clock.now()))
            self._wake.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _sweep(self) -> None:
        parts, dispatcher = self._parts, self._dispatcher
        assert dispatcher is not None
        now = parts.clock.now()
        overdue = [task for task in await parts.store.overdue(now=now, limit=BATCH) if not dispatcher.holds(task)]
        changes = [self._change(task, now) for task in overdue]
        for change, written in zip(changes, await parts.store.apply(changes) if changes else [], strict=True):
            if written:
                self._written(change, dispatcher)
        parts.traffic.sync(await parts.store.depths())
        self._due_at = await parts.store.next_due(now)
        dispatcher.look_everywhere()
        if len(overdue) == BATCH:
            self.due_later(now)

    def _change(self, task: Task, now: Seconds) -> Change:
        facts = Facts(now=now, keep_seconds=self._parts.timing.payload_seconds)
        if task.status is Status.QUEUED:
            return decide(task, Event.EXPIRE, facts)
        message = f"the node {task.node} that ran attempt {task.attempt} was lost"
        lost = Failed(
            reason=Reason.WORKER_LOST, error=TaskError(type="NodeLost", message=message), retry_after_seconds=0.0
        )
        job = self._parts.catalog.jobs.get(task.job)
        return after_failure(task, lost, Retry() if job is None else job.retry, facts, chance=self._parts.chance())

    def _written(self, change: Change, dispatcher: Dispatcher) -> None:
        if change.after.status is Status.QUEUED:
            dispatcher.hint(change.after)
        else:
            count_left(self._parts, change)
        self._parts.hub.publish(change.after.id)


class Janitor:
    """Drops payloads, old rows, old keys, forgotten uploads and blobs that belong to no task, in small batches."""

    def __init__(self, parts: Parts, clock: FollowingClock) -> None:
        self._parts = parts
        self._clock = clock
        self._hold_until: Seconds = 0.0

    async def run(self) -> None:
        swept_at = -SWEEP_SECONDS
        while True:
            self._follow_wall_clock()
            if self._parts.clock.monotonic() >= self._hold_until:
                await repeatable("janitor", self._cancel_forgotten)
                await repeatable("janitor", self._purge)
            if self._parts.clock.monotonic() - swept_at > SWEEP_SECONDS:
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
            for task_id in purged.task_ids:
                await parts.blobs.delete(f"t/{task_id}")
            parts.stats.purged_payloads += len(purged.task_ids)
            parts.stats.purged_rows += purged.rows
            files = await parts.files.purge_files(created_before=now - timing.file_seconds, limit=BATCH)
            for file_id in files:
                await parts.blobs.delete(f"f/{file_id}")
            if not (purged.task_ids or purged.rows or purged.keys or files):
                return
            await asyncio.sleep(0.05)  # let those who wait for the writer go first

    async def _sweep_orphans(self) -> None:
        """Delete what a crash between storing a blob and committing its row left behind."""
        parts = self._parts
        for prefix in await parts.blobs.prefixes("t", older_than_seconds=parts.timing.orphan_seconds):
            task = await parts.store.get(ALL, prefix.rpartition("/")[2])
            if task is None or task.payload_dropped:
                await parts.blobs.delete(prefix)
            await asyncio.sleep(PAUSE_SECONDS)  # there may be a million; nobody waits for this
        for prefix in await parts.blobs.prefixes("f", older_than_seconds=parts.timing.orphan_seconds):
            if await parts.files.get_file(ALL, prefix.rpartition("/")[2]) is None:
                await parts.blobs.delete(prefix)


async def repeatable(who: str, duty: Callable[[], Awaitable[None]]) -> str | None:
    """Do one round; what goes wrong is logged, returned, and tried again in the next."""
    try:
        await duty()
    except TryAgain as error:
        log.warning("%s: %s", who, error)
        return str(error)
    except Exception as error:
        log.exception("the %s failed in this round", who)
        return f"{type(error).__name__}: {error}"
    return None
