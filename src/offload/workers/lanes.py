"""A lane: the worker processes that run the same jobs, kept at their number, and what each has room for."""

import asyncio
import logging
from collections import Counter
from typing import Protocol

from offload.core.errors import FrameTooLarge
from offload.core.job import Job
from offload.core.outcome import Failed, Outcome
from offload.core.task import Reason, Seconds, TaskError
from offload.ports import Room
from offload.workers.attempts import Attempt
from offload.workers.children import RECALL_SECONDS, SHORT_SECONDS, Child, Plan, State
from offload.workers.lane_specs import LaneSpec
from offload.workers.protocol import Said

log = logging.getLogger("offload.workers")

WAITING_MAX = 32
AVERAGE_WEIGHT = 0.1
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MOST_SECONDS = 30.0
YOUNG_SECONDS = 2.0
"""A process that ends so soon after its start, with nothing to do, would do so again."""


class Crew(Protocol):
    """What a lane needs of the pool."""

    def finish(self, attempt: Attempt, outcome: Outcome) -> None: ...

    def said(self, attempt: Attempt, said: Said) -> None: ...

    def room_freed(self) -> None: ...

    def buried(self, child: Child) -> None:
        """A process has ended: nothing of it may stay."""

    def oom_killed(self) -> bool: ...


class Lane:
    """Keeps `size` processes; replaces those that die, wear out or are told to leave."""

    def __init__(self, spec: LaneSpec, plan: Plan, crew: Crew) -> None:
        self.spec = spec
        self.children: list[Child] = []
        self.tried = asyncio.Event()
        """The first process is ready, or the first try has failed."""
        self._plan = plan
        self._crew = crew
        self._average_seconds: Seconds | None = None
        self._failures = 0
        self._pause_until: Seconds = 0.0
        self._filling: asyncio.TimerHandle | None = None
        self._stopping = False
        # where processes are counted by their tasks, none may wait behind the last one
        self._may_wait = not any(job.recycle_tasks for job in spec.jobs) and not spec.recycle_tasks

    def start(self) -> None:
        self._fill()

    def close(self) -> None:
        """Start no more processes, and take no more attempts."""
        self._stopping = True
        if self._filling is not None:
            self._filling.cancel()

    def rooms(self, now: Seconds) -> list[Room]:
        spec = self.spec
        if spec.is_async:
            return [
                Room(lane=f"{spec.name}:{job.name}" if spec.is_shared else spec.name, jobs=(job.name,),
                     places=sum(self._places(child, job, now) for child in self._usable()))
                for job in spec.jobs
            ]  # fmt: skip
        places = sum(self._places(child, None, now) for child in self._usable())
        return [Room(lane=spec.name, jobs=tuple(job.name for job in spec.jobs), places=places)]

    def run(self, attempt: Attempt, now: Seconds) -> bool:
        """Hand the attempt to the process with the least to do; False when none has room."""
        best = None
        for child in self._usable():
            if self._places(child, attempt.job, now) > 0 and (best is None or len(child.attempts) < len(best.attempts)):
                best = child
        if best is None:
            return False
        self._hand(best, attempt, now)
        return True

    def ready(self, child: Child) -> None:
        self._failures = 0
        self.tried.set()
        log.debug("worker %d of %s is ready", child.pid, self.spec.name)
        self._crew.room_freed()

    def said(self, attempt: Attempt, said: Said) -> None:
        self._crew.said(attempt, said)

    def ended(self, child: Child, attempt: Attempt, outcome: Outcome, run_seconds: Seconds | None) -> None:
        if run_seconds is not None:
            before = self._average_seconds
            self._average_seconds = run_seconds if before is None else before + AVERAGE_WEIGHT * (run_seconds - before)
        if self._is_worn(child, attempt.job):
            child.wear_out()
        self._crew.finish(attempt, outcome)
        self._crew.room_freed()

    def held_up(self) -> None:
        self._average_seconds = max(self._average_seconds or 0.0, RECALL_SECONDS)

    def recalled(self, attempt: Attempt) -> None:
        idle = next((child for child in self._usable() if not child.attempts), None)
        if idle is not None and attempt.stop is None and not self._stopping:
            self._hand(idle, attempt, asyncio.get_running_loop().time())
        else:
            self._crew.finish(attempt, attempt.unrun())
            self._crew.room_freed()

    def leaving(self, child: Child) -> None:
        self._fill()

    def gone(self, child: Child, *, boot_error: str | None, idle: bool) -> None:
        self.children.remove(child)
        now = asyncio.get_running_loop().time()
        if boot_error is not None or (idle and not child.was_told_to_go and now - child.born_at < YOUNG_SECONDS):
            pause = min(BACKOFF_FIRST_SECONDS * 2**self._failures, BACKOFF_MOST_SECONDS)
            self._failures = min(self._failures + 1, 16)
            self._pause_until = now + pause
            if not self._stopping:
                why = boot_error or "it ended with nothing to do"
                log.error("a worker of %s could not start, trying again in %g s: %s", self.spec.name, pause, why)
        self.tried.set()
        self._fill()
        self._crew.buried(child)
        self._crew.room_freed()

    def oom_killed(self) -> bool:
        return self._crew.oom_killed()

    def _fill(self) -> None:
        """Start what is missing, unless the last starts failed: then later."""
        if self._stopping:
            return
        now = asyncio.get_running_loop().time()
        missing = self.spec.size - sum(child.state in (State.BOOTING, State.READY) for child in self.children)
        if missing > 0 and now < self._pause_until:
            if self._filling is not None:
                self._filling.cancel()
            self._filling = asyncio.get_running_loop().call_at(self._pause_until, self._fill)
            return
        for _ in range(missing):
            try:
                self.children.append(Child(self._plan, self))
            except OSError as error:  # no more processes or descriptors
                log.error("cannot start a worker of %s, trying again soon: %s", self.spec.name, error)
                self._pause_until = now + BACKOFF_FIRST_SECONDS
                self.tried.set()
                self._filling = asyncio.get_running_loop().call_at(self._pause_until, self._fill)
                return

    def _usable(self) -> list[Child]:
        """Return the processes that may take work: never so many that more than `size` run at once."""
        ready = [child for child in self.children if child.state is State.READY]
        if self.spec.is_async:
            return ready  # what runs there mostly waits: the old and the new may do so side by side
        going = sum(1 for child in self.children if child.attempts and child.state in (State.WORN, State.LEAVING))
        return ready if not going else sorted(ready, key=lambda child: -len(child.attempts))[: self.spec.size - going]

    def _places(self, child: Child, job: Job | None, now: Seconds) -> int:
        held = len(child.attempts)
        if self.spec.is_async:
            assert job is not None
            if self.spec.is_shared:
                held = Counter(attempt.job.name for attempt in child.attempts.values())[job.name]
            free = job.concurrency - held
        elif (head := child.head) is not None and (head.stop is not None or child.head_seconds(now) > SHORT_SECONDS):
            free = 0
        else:
            free = 1 + self._waiting_max() - held
        if self.spec.recycle_tasks is not None:
            free = min(free, self.spec.recycle_tasks - child.tasks_done - len(child.attempts))
        return max(0, free)

    def _waiting_max(self) -> int:
        average = self._average_seconds
        if not self._may_wait or average is None or average >= SHORT_SECONDS:
            return 0
        return max(1, min(WAITING_MAX, int(SHORT_SECONDS / max(average, 1e-6))))

    def _hand(self, child: Child, attempt: Attempt, now: Seconds) -> None:
        try:
            child.hand(attempt, now)
        except FrameTooLarge as error:
            told = TaskError(type="FrameTooLarge", message=f"the input cannot be handed to a worker: {error}")
            self._crew.finish(attempt, Failed(reason=Reason.ERROR, error=told, retry=False))
            return
        limit = self.spec.recycle_tasks
        if limit is not None and child.tasks_done + len(child.attempts) >= limit:
            child.wear_out()  # its successor starts while it does the last of its work

    def _is_worn(self, child: Child, job: Job) -> bool:
        spec = self.spec
        memory_max = spec.recycle_memory_bytes if job.recycle_memory_bytes is None else job.recycle_memory_bytes
        return (
            (spec.recycle_tasks is not None and child.tasks_done >= spec.recycle_tasks)
            or (job.recycle_tasks is not None and child.done_by_job[job.name] >= job.recycle_tasks)
            or (memory_max is not None and child.memory_bytes > memory_max)
        )
