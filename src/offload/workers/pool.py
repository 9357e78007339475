"""The Workers port: lanes of processes that run user code, behind one front."""

import asyncio
import logging
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from offload.core.catalog import Catalog
from offload.core.outcome import Outcome, Unrun
from offload.core.task import Seconds, Task, TaskEvent
from offload.ports import Clock, Listener, Note, Room, Work, WorkerState
from offload.workers import strays
from offload.workers.attempts import Attempt, Stop
from offload.workers.capture import AttemptLog
from offload.workers.children import Child, Plan, State
from offload.workers.deaths import OomKills, over_memory, remove_traces
from offload.workers.lane_specs import LaneSpec, PoolSettings, lane_specs
from offload.workers.lanes import Lane
from offload.workers.limits import memory_of_bytes
from offload.workers.memory_watch import MemoryWatch
from offload.workers.protocol import Boot, InputFile, Said
from offload.workers.watchdog import Watchdog

__all__ = ["Pool", "PoolSettings"]

log = logging.getLogger("offload.workers")

BEAT_SECONDS = 0.1
OOM_LOOK_BEATS = 10
START_SECONDS_MAX = 60.0
LEAVE_SECONDS = 2.0
"""How long idle processes may take to leave when the pool stops."""


class Pool:
    """Keeps the processes of a catalog's jobs and tells a Listener, exactly once each, how attempts end."""

    def __init__(self, catalog: Catalog, target: str, settings: PoolSettings, clock: Clock) -> None:
        self._catalog = catalog
        self._target = target
        self._settings = settings
        self._clock = clock
        self._node = secrets.token_hex(8)
        self._listener: Listener | None = None
        self._lanes: list[Lane] = []
        self._lane_of_job: dict[str, Lane] = {}
        self._attempts: dict[tuple[str, int], tuple[Attempt, Lane]] = {}
        self._stopping = False
        self._beating: asyncio.TimerHandle | None = None
        self._beats = 0
        self._telling_room = False
        self._idle = asyncio.Event()
        self._buried = asyncio.Event()

    async def start(self, listener: Listener) -> None:
        """Start every process; return when each lane has one that is ready, or has failed in its first try."""
        self._listener = listener
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="offload-workers")
        self._oom_kills = OomKills()
        self._memory_watch = MemoryWatch(self._limited, self._over_memory)
        self._watchdog = Watchdog(self._node)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, _empty, self._settings.scratch)
        self._watchdog.start()
        for spec in lane_specs(self._catalog, self._settings):
            lane = Lane(spec, self._plan(spec), self)
            self._lanes.append(lane)
            self._lane_of_job.update({job.name: lane for job in spec.jobs})
            lane.start()
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                for lane in self._lanes:
                    await lane.tried.wait()
        except TimeoutError:
            log.warning("the jobs take long to load; going on, their tasks wait until they are ready")

    def jobs(self) -> list[str]:
        return list(self._catalog.jobs)

    def rooms(self) -> list[Room]:
        if self._stopping:
            return []
        now = self._now()
        return [room for lane in self._lanes for room in lane.rooms(now)]

    def run(self, work: Work) -> None:
        """Hand over an attempt; one for which there is no room any more is given back unrun."""
        task = work.task
        job = self._catalog.jobs[task.job]
        attempt = Attempt(
            task=task,
            job=job,
            files=[
                InputFile(file.field, work.paths[file.blob], file.name, file.type, file.size) for file in task.files
            ],
            log=AttemptLog(self._settings.log_bytes_max if job.log_bytes_max is None else job.log_bytes_max),
            timeout_seconds=self._settings.timeout_seconds if job.timeout_seconds is None else job.timeout_seconds,
            grace_seconds=self._settings.grace_seconds if job.grace_seconds is None else job.grace_seconds,
            traceparent=work.traceparent,
        )
        assert attempt.key not in self._attempts, "an attempt is run once"
        lane = self._lane_of_job[job.name]
        self._attempts[attempt.key] = attempt, lane
        if self._stopping or not lane.run(attempt, self._now()):
            asyncio.get_running_loop().call_soon(self.finish, attempt, Unrun())
            return
        if self._beating is None:
            self._beating = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)
        if self._memory_limit(lane, attempt) is not None:
            self._memory_watch.wake()

    def cancel(self, task: Task) -> None:
        self._stop_attempt((task.id, task.attempt), Stop.CANCEL)

    def workers(self) -> list[WorkerState]:
        now = self._now()
        return [
            WorkerState(
                pid=child.pid,
                lane=lane.spec.name,
                tasks=tuple(attempt.task.id for attempt in child.attempts.values()),
                busy_seconds=child.head_seconds(now),
                memory_bytes=memory_of_bytes(child.pid),
                tasks_done=child.tasks_done,
            )
            for lane, child in self._children()
        ]

    async def stop(self, *, grace_seconds: Seconds) -> None:
        if self._stopping or self._listener is None:
            return
        self._stopping = True
        for lane in self._lanes:
            lane.close()
        for _, child in list(self._children()):
            child.recall_waiting()
            child.wear_out()
        await self._wait_idle(grace_seconds)
        for attempt, _ in list(self._attempts.values()):
            self._stop_attempt(attempt.key, Stop.SHUTDOWN)
        for _, child in list(self._children()):
            if child.attempts:
                child.terminate(min(LEAVE_SECONDS, self._settings.grace_seconds))
        await self._wait_empty(LEAVE_SECONDS)
        for _, child in list(self._children()):
            child.kill()
        await self._wait_empty(None)
        await self._wait_idle(None)  # what was handed over in the last moment is given back in the next
        await self._leave_nothing()

    def finish(self, attempt: Attempt, outcome: Outcome) -> None:
        """Tell the listener how an attempt ended; nothing is said of it afterwards."""
        del self._attempts[attempt.key]
        assert self._listener is not None
        now = self._clock.now()
        last_words = tuple(self._event(attempt, "log", data, now) for data in attempt.log.rest())
        if not self._attempts:
            self._idle.set()
        try:
            self._listener.ended(attempt.task, outcome, last_words)
        except Exception:
            log.exception("the end of an attempt could not be told", extra={"task": attempt.task.id})

    def said(self, attempt: Attempt, said: Said) -> None:
        if said.log:
            attempt.log.add(said.log)
        if said.progress is not None or said.outputs:
            now = self._clock.now()
            events = tuple(self._event(attempt, "output", data, now) for data in said.outputs)
            self._note(Note(task=attempt.task, progress=said.progress, events=events))

    def room_freed(self) -> None:
        """Tell once for all that happens in this turn of the loop."""
        if not self._telling_room:
            self._telling_room = True
            asyncio.get_running_loop().call_soon(self._tell_room)

    def buried(self, child: Child) -> None:
        self._buried.set()
        try:
            self._threads.submit(remove_traces, child.name, child.scratch, child.untold)
        except RuntimeError as error:  # no thread can be started now; one that can be later does it then
            log.warning("what worker %d left is not removed yet: %s", child.pid, error)

    def oom_killed(self) -> bool:
        return self._oom_kills.more()

    def _note(self, note: Note) -> None:
        assert self._listener is not None
        try:
            self._listener.noted(note)
        except Exception:  # what comes after it must not be lost with it, least of all the end
            log.exception("a note of an attempt could not be told", extra={"task": note.task.id})

    def _tell_room(self) -> None:
        self._telling_room = False
        assert self._listener is not None
        self._listener.room_freed()

    def _stop_attempt(self, key: tuple[str, int], why: Stop) -> None:
        found = self._attempts.get(key)
        if found is None:
            return
        attempt, lane = found
        child = next((child for child in lane.children if child.attempts.get(attempt.ticket) is attempt), None)
        if child is not None:
            child.stop(attempt, why)

    def _beat(self) -> None:
        self._beating = None
        self._beats += 1
        if self._beats % OOM_LOOK_BEATS == 0:
            self._oom_kills.more()  # what happened elsewhere is not what ends a worker later
        now = self._now()
        for _, child in list(self._children()):
            if child.attempts:
                child.beat(now)
        for attempt, _ in list(self._attempts.values()):
            if news := attempt.log.news(now):
                at = self._clock.now()
                events = tuple(self._event(attempt, "log", data, at) for data in news)
                self._note(Note(task=attempt.task, events=events))
        if self._attempts:
            self._beating = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _event(self, attempt: Attempt, kind: str, data: bytes, at: Seconds) -> TaskEvent:
        return TaskEvent(kind="log" if kind == "log" else "output", at=at, attempt=attempt.task.attempt, data=data)

    def _children(self) -> Iterator[tuple[Lane, Child]]:
        return ((lane, child) for lane in self._lanes for child in lane.children)

    def _memory_limit(self, lane: Lane, attempt: Attempt) -> int | None:
        return lane.spec.memory_bytes if attempt.job.memory_bytes is None else attempt.job.memory_bytes

    def _limited(self) -> dict[int, int]:
        """Return the processes in which attempts run under a memory limit, each with the limit."""
        limited = {}
        for lane, child in self._children():
            limits = [self._memory_limit(lane, attempt) for attempt in child.attempts.values()]
            known = [limit for limit in (limits if lane.spec.is_async else limits[:1]) if limit is not None]
            if known and child.state is not State.DEAD:
                limited[child.pid] = max(known)
        return limited

    def _over_memory(self, pid: int, used_bytes: int) -> None:
        limit = self._limited().get(pid)
        for _, child in list(self._children()):
            if child.pid == pid and limit is not None:
                child.kill(Stop.MEMORY, over_memory(used_bytes=used_bytes, limit_bytes=limit))

    def _plan(self, spec: LaneSpec) -> Plan:
        settings = self._settings
        watches_memory = spec.recycle_memory_bytes is not None or any(job.recycle_memory_bytes for job in spec.jobs)
        boot = Boot(
            target=self._target, lane_jobs=tuple(job.name for job in spec.jobs), own_lane=not spec.is_shared,
            is_async=spec.is_async, sys_path=list(sys.path), scratch="", results=str(settings.scratch / RESULTS),
            mark="", nice=settings.nice, memory_bytes=spec.memory_bytes, result_bytes_max=settings.result_bytes_max,
            tells_memory=watches_memory,
        )  # fmt: skip
        environment = {**settings.environment, strays.NODE_MARK: self._node}
        return Plan(lane=spec.name, environment=environment, boot=boot, is_async=spec.is_async, home=settings.scratch)

    async def _wait_idle(self, seconds: Seconds | None) -> None:
        """Wait until every run has ended, or for so long."""
        try:
            async with asyncio.timeout(seconds):
                while self._attempts:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            log.info("%d attempts are given back: the grace has ended", len(self._attempts))

    async def _wait_empty(self, seconds: Seconds | None) -> None:
        """Wait until the last process is gone, or for so long."""
        try:
            async with asyncio.timeout(seconds):
                while any(True for _ in self._children()):
                    self._buried.clear()
                    await self._buried.wait()
        except TimeoutError:
            pass

    async def _leave_nothing(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
        self._memory_watch.stop()
        await self._aside(self._threads, partial(strays.kill_marked, strays.NODE_MARK, self._node))
        self._watchdog.stop()
        await self._aside(None, self._threads.shutdown)

    async def _aside(self, threads: ThreadPoolExecutor | None, call: Callable[[], object]) -> None:
        """Call what blocks in a thread, or here when none can be started: nothing else is left to do then."""
        try:
            await asyncio.get_running_loop().run_in_executor(threads, call)
        except RuntimeError:
            call()

    def _now(self) -> Seconds:
        return asyncio.get_running_loop().time()


RESULTS = "results"


def _empty(scratch: Path) -> None:
    """Remove what an earlier pool left, and make the directories."""
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / RESULTS).mkdir(mode=0o700, parents=True)
