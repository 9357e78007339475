"""The engine's front door: what a client may do with tasks, made durable and announced."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from offload.core.catalog import Catalog
from offload.core.errors import (
    TaskDoesNotExist,
    TaskIsCanceled,
    TaskIsDeleted,
    TaskIsFinal,
    TryAgain,
)
from offload.core.ring import DELIVERIES, NODES
from offload.core.task import Scope, Seconds, Status, Task, TaskEvent
from offload.core.transitions import Change, Event, Facts, decide
from offload.engine.callbacks import Callbacks
from offload.engine.condition import BrokerState, Condition, Health
from offload.engine.dispatcher import Dispatcher
from offload.engine.errands import Errands
from offload.engine.gate import Gate
from offload.engine.hub import Watcher
from offload.engine.leases import Leases
from offload.engine.lessor import Lessor
from offload.engine.neighbours import Neighbours
from offload.engine.orders import Order, new_task
from offload.engine.parts import Parts, count_left
from offload.engine.pulse import Pulse
from offload.engine.removals import Removals
from offload.engine.revivals import refuse_revival
from offload.engine.roll import LearningClock, Roll
from offload.engine.schedules import Schedules
from offload.engine.stats import Stats
from offload.engine.streams import Streams
from offload.engine.traffic import Place, QueueView
from offload.engine.upkeep import FollowingClock, Janitor, Reaper
from offload.engine.views import View, Views
from offload.ports import Added, Blobs, Clock, FileStore, Filter, WorkerState


class NodeClock(Clock, FollowingClock, LearningClock, Protocol):
    """The clock that a node sets by its store's."""


log = logging.getLogger("offload.engine")

CROSSINGS_MAX = 20
"""How often a change is decided anew because the task moved meanwhile; a task has fewer transitions in a moment."""


class Engine:
    """Seven verbs over the store, and the agents that make things happen. One per node."""

    def __init__(self, parts: Parts, gate: Gate, clock: NodeClock) -> None:
        self.parts = parts
        self.gate = gate
        self.stopping = asyncio.Event()
        self._paused: set[str] = set()
        self.views = Views(parts, self._paused)
        self.callbacks = Callbacks(parts.deliveries, parts.egress, parts.clock)
        self.schedules = Schedules(parts)
        self.streams = Streams(parts)
        self.pulse = Pulse(parts)
        self._reaper = Reaper(parts)
        self._removals = Removals(parts.blobs)
        self.lessor = Lessor(parts, self._paused)
        self._dispatcher = Dispatcher(parts, self._paused, self._reaper.due_later, self.lessor)
        self.lessor.serve(self._dispatcher)
        self.leases = Leases(parts, self._dispatcher)
        self._reaper.serve(self._dispatcher)
        self._condition = Condition(parts, gate, self._dispatcher, self._reaper, self.stopping)
        self.roll = Roll(parts, clock, self._condition.state)
        self._janitor = Janitor(parts, clock, self.roll.is_first, self._removals)
        self.neighbours = Neighbours(parts, self._dispatcher, self._reaper, self._paused)
        self.neighbours.on({NODES: self.roll.reread})
        self.neighbours.on_word({DELIVERIES: self.callbacks.moves.moved_elsewhere})
        self._errands = Errands()
        self._loops: list[asyncio.Task[None]] = []
        self._stopped = False

    @property
    def catalog(self) -> Catalog:
        return self.parts.catalog

    @property
    def blobs(self) -> Blobs:
        return self.parts.blobs

    @property
    def files(self) -> FileStore:
        return self.parts.files

    @property
    def clock(self) -> Clock:
        return self.parts.clock

    @property
    def stats(self) -> Stats:
        return self.parts.stats

    async def start(self) -> None:
        await self.roll.start()
        await self.neighbours.reread_paused()
        depths = await self.parts.store.depths()
        self.parts.traffic.sync(depths)
        for depth in depths:
            if depth.job not in self.catalog.jobs and depth.queued:
                log.warning("%d tasks wait for job %r, which these jobs do not hold", depth.queued, depth.job)
        await self.neighbours.start()
        await self._dispatcher.start()
        self.lessor.start(depths)
        await self.pulse.start()
        spawn = asyncio.get_running_loop().create_task
        self._loops = [spawn(self._reaper.run()), spawn(self._janitor.run()), spawn(self.gate.run())]
        await self.roll.announce()

    def begin_stop(self) -> None:
        """Say that this node is going: not ready any more, long polls are answered at once."""
        self.stopping.set()
        self.lessor.begin_stop()

    async def stop(self, grace_seconds: Seconds) -> None:
        """Let attempts run until the grace ends and give back the rest; tasks are accepted until that is done.

        Call it once more without harm.
        """
        if self._stopped:
            return
        self._stopped = True
        self.begin_stop()
        await self.roll.announce()
        await self.lessor.stop()
        await self._dispatcher.stop(grace_seconds)
        self.gate.close()
        await self.pulse.stop()
        self.streams.end()
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self.roll.stop()
        await self.neighbours.stop()

    def admit(self, job: str, *, tasks: int = 1, body_bytes: int = 0) -> Place:
        """Reserve places in the job's queue, before a body is read.

        Raise JobDoesNotExist, QueueFull, DiskFull, Stopping.
        """
        queue = self.parts.catalog.find(job).queue
        try:
            return self.gate.admit(queue, tasks=tasks, body_bytes=body_bytes)
        except TryAgain as error:
            self.parts.stats.refused[queue, error.code] += 1
            raise

    def check_url(self, url: str) -> None:
        """Raise EgressRefused when nothing would ever be fetched from there, or sent there."""
        self.parts.egress.check(url)

    async def create(self, order: Order, place: Place) -> Added:
        """Make one task; durable when this returns. Raise TaskAlreadyExists, IdempotencyKeyReused, WrongValue."""
        return (await self.create_all([order], [place]))[0]

    async def create_all(self, orders: Sequence[Order], places: Sequence[Place]) -> list[Added]:
        """Make all or none."""
        parts = self.parts
        now = parts.clock.now()
        added = await parts.store.add([new_task(order, parts.catalog.find(order.job), now) for order in orders])
        self.welcome(added)
        for place in places:
            place.settle()
        return added

    def welcome(self, added: Sequence[Added]) -> None:
        """Count tasks that were just added, and say so to whoever acts on them."""
        for one in added:
            if one.fresh:
                self.parts.stats.submitted[one.task.job] += 1
                if one.task.status is Status.QUEUED:
                    self._came(one.task)

    async def get(self, scope: Scope, task_id: str) -> Task:
        task = await self.parts.store.get(scope, task_id)
        if task is None:
            raise TaskDoesNotExist(task_id)
        return task

    async def find(self, scope: Scope, wanted: Filter) -> list[Task]:
        return await self.parts.store.find(scope, wanted)

    async def events(self, scope: Scope, task_id: str, *, after: int = 0, limit: int = 1000) -> list[TaskEvent]:
        return await self.parts.store.events(scope, task_id, after=after, limit=limit)

    async def wait(self, scope: Scope, task_id: str, seconds: Seconds) -> Task:
        """Return the task when it is final, when the time is over, or when this node stops: whatever comes first."""
        with self.parts.hub.watch(task_id) as watcher:
            task = await self.get(scope, task_id)
            clock = self.parts.clock
            until = clock.monotonic() + seconds
            stopping = asyncio.ensure_future(self.stopping.wait())
            try:
                while not task.final and not self.stopping.is_set() and (left := until - clock.monotonic()) > 0:
                    changed = asyncio.ensure_future(_next_of(watcher, left))
                    try:
                        await asyncio.wait({changed, stopping}, return_when=asyncio.FIRST_COMPLETED)
                        task = (changed.result() if changed.done() else None) or task
                    finally:
                        changed.cancel()  # also of a wait that is given up: it would go on for all of its time
            finally:
                stopping.cancel()
        return task

    async def run(self, scope: Scope, task_id: str) -> tuple[Task, bool]:
        """Queue a CREATED task; one that was run before stays as it is.

        Raise TaskIsDeleted, TaskIsCanceled, QueueFull.
        """
        return await self._errands.do(self._run(scope, task_id))

    async def cancel(self, scope: Scope, task_id: str) -> Task:
        """Cancel; a RUNNING task is told and comes back RUNNING with its flag set. Raise TaskIsFinal, TaskIsDeleted."""
        return await self._errands.do(self._cancel(scope, task_id))

    async def revive(self, scope: Scope, task_id: str) -> Task:
        """Give a FAILED or CANCELED task one more attempt.

        Raise TaskIsNotFinal, TaskIsFinal, TaskIsDeleted, QueueFull.
        """
        return await self._errands.do(self._revive(scope, task_id))

    async def delete(self, scope: Scope, task_id: str) -> Task:
        """Drop input, result, logs and files and leave a tombstone; what is not final is canceled and stopped first."""
        return await self._errands.do(self._delete(scope, task_id))

    async def set_paused(self, queue: str, paused: bool) -> None:
        """Stop or start claiming from a queue; accepting goes on. Raise QueueDoesNotExist."""
        self.views.known_queue(queue)
        await self.neighbours.set_paused(queue, paused)

    async def renew(self) -> None:
        """Prolong the leases of this node now; it is done now and then anyhow."""
        await self._dispatcher.renew()

    async def view(self, task: Task) -> View:
        return await self.views.of(task)

    def workers(self) -> list[WorkerState]:
        return self.parts.workers.workers()

    async def queues(self) -> list[QueueView]:
        return await self.views.queues()

    async def queue(self, name: str) -> QueueView:
        """Raise QueueDoesNotExist."""
        return await self.views.queue(name)

    def logs(self, scope: Scope, task_id: str) -> AsyncIterator[str]:
        return self.views.logs(scope, task_id)

    def health(self) -> Health:
        """Tell whether this node can accept and work, and what each part says."""
        return self._condition.health(self.roll)

    def broker(self) -> BrokerState | None:
        """Return how the broker is, None when there is none."""
        return self._condition.broker()

    async def _run(self, scope: Scope, task_id: str) -> tuple[Task, bool]:
        for _ in range(CROSSINGS_MAX):
            task = await self.get(scope, task_id)
            if task.status is Status.DELETED:
                raise TaskIsDeleted(f"task {task_id} was deleted and cannot be run")
            if task.status is Status.CANCELED:
                raise TaskIsCanceled(f"task {task_id} was canceled; POST …/retry runs it after all")
            if task.status is not Status.CREATED:
                return task, False
            with self._place_for(task):
                change = decide(task, Event.RUN, Facts(now=self.parts.clock.now()))
                if await self._write(change):
                    self._came(change.after)
                    return change.after, True
        raise self._crossed(task_id)

    async def _cancel(self, scope: Scope, task_id: str) -> Task:
        for _ in range(CROSSINGS_MAX):
            task = await self.get(scope, task_id)
            if task.status is Status.DELETED:
                raise TaskIsDeleted(f"task {task_id} was deleted")
            if task.status is Status.CANCELED or (task.status is Status.RUNNING and task.cancel_requested):
                return task
            if task.final:
                raise TaskIsFinal(f"task {task_id} is {task.status} already; it cannot be canceled")
            running = task.status is Status.RUNNING
            change = decide(task, Event.ASK_CANCEL if running else Event.CANCEL, self._facts())
            with self.parts.traffic.moving():
                if not await self._write(change):
                    continue
                if not running:
                    count_left(self.parts, change)
                elif not self._dispatcher.cancel(change.after):
                    self.parts.ringer.stopped(task_id)
                return change.after
        raise self._crossed(task_id)

    async def _revive(self, scope: Scope, task_id: str) -> Task:
        for _ in range(CROSSINGS_MAX):
            task = await self.get(scope, task_id)
            refuse_revival(task)
            with self._place_for(task):
                change = decide(task, Event.REVIVE, self._facts())
                if await self._write(change):
                    self._came(change.after)
                    return change.after
        raise self._crossed(task_id)

    async def _delete(self, scope: Scope, task_id: str) -> Task:
        for _ in range(CROSSINGS_MAX):
            task = await self.get(scope, task_id)
            if task.status is Status.DELETED:
                return task
            if task.status is Status.RUNNING:
                await self._stop_attempt(scope, task)
                continue
            changes = [decide(task, Event.CANCEL, self._facts())] if task.status is Status.QUEUED else []
            last = changes[-1].after if changes else task
            changes.append(decide(last, Event.DELETE, self._facts()))
            with self.parts.traffic.moving():
                if not (await self.parts.store.apply(changes))[-1]:
                    continue
                for change in changes[:-1]:
                    count_left(self.parts, change)
            self.parts.hub.publish(task_id)
            await self._removals.drop([f"t/{task_id}"])
            return changes[-1].after
        raise self._crossed(task_id)

    def _came(self, task: Task) -> None:
        self.parts.traffic.came(task)
        self._dispatcher.hint(task)
        if task.deadline_at is not None:
            self._reaper.due_later(task.deadline_at)
        self.parts.hub.look(task.id)

    async def _write(self, change: Change) -> bool:
        (written,) = await self.parts.store.apply([change])
        if written:
            self.parts.hub.publish(change.after.id)
        return written

    async def _stop_attempt(self, scope: Scope, task: Task) -> None:
        with contextlib.suppress(TaskIsFinal):
            await self._cancel(scope, task.id)
        seconds = self.parts.timing.stop_seconds
        if not (await self.wait(scope, task.id, seconds)).final:
            raise TryAgain(f"task {task.id} is being stopped; delete it again later", retry_seconds=int(seconds))

    def _place_for(self, task: Task) -> Place:
        if task.queue in self.parts.catalog.queues:
            return self.gate.admit(task.queue, tasks=1, body_bytes=task.input_bytes)
        return self.gate.free_place()

    def _facts(self) -> Facts:
        return Facts(now=self.parts.clock.now(), keep_seconds=self.parts.timing.payload_seconds)

    def _crossed(self, task_id: str) -> TryAgain:
        return TryAgain(f"task {task_id} keeps changing; ask again", retry_seconds=1)


async def _next_of(watcher: Watcher, seconds: Seconds) -> Task | None:
    """Return what a watcher gets, None when it gets nothing in time."""
    with contextlib.suppress(TimeoutError):
        return await watcher.next(seconds)
    return None
