"""The Workers port over Celery: attempts are messages to its workers, and every one of them ends."""

import asyncio
import logging
import math
import secrets
import shutil
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from offload.celery import attempt as attempts
from offload.celery.attempt import ENDED, Attempt, message_id_of
from offload.celery.jobs import CeleryTask, app_of
from offload.celery.limits import CeleryLimits
from offload.celery.lookout import Lookout
from offload.celery.wire import Away, Message, Meta, Wire
from offload.core.catalog import Catalog
from offload.core.outcome import LocalFile, Outcome, Stopped, Succeeded, Unrun
from offload.core.task import Seconds, Task
from offload.ports import Clock, Listener, Note, Room, Work, WorkerState

log = logging.getLogger("offload.celery")

POLL_SECONDS, POLL_SLOW_SECONDS = 0.1, 0.5
"""Between two looks at the results: of a backend that tells of many at once, and of one that does not."""
NOTE_SECONDS = 0.2
AWAY_SECONDS = 2.0
"""How long nothing is handed over after broker or result backend did not answer."""
KILL_SECONDS = 2.0
STOP_SECONDS = 2.0
"""How long what is being said to Celery may take when the node stops."""
RESULT_INLINE_BYTES_MAX = 64 * 2**10

T = TypeVar("T")


def open_workers(catalog: Catalog, limits: CeleryLimits, clock: Clock) -> "CeleryWorkers":
    """Return what runs the jobs of a Celery application; nothing is asked of it yet."""
    return CeleryWorkers(catalog, Wire(app_of(catalog)), limits, clock)


class CeleryWorkers:
    """Hands attempts to Celery, hears of their ends by asking, and gives up those of which nobody knows any more."""

    def __init__(self, catalog: Catalog, wire: Wire, limits: CeleryLimits, clock: Clock) -> None:
        self._catalog = catalog
        self._wire = wire
        self._limits = limits
        self._clock = clock
        self._listener: Listener | None = None
        self._attempts: dict[str, Attempt] = {}
        """By task."""
        self._doing: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._away_until: Seconds = 0.0
        self._stopping = False
        self._post = ThreadPoolExecutor(1, thread_name_prefix="offload-celery")
        self._lookout = Lookout(wire, self._attempts, limits.lost_seconds, self._lost, self._room_freed)

    async def start(self, listener: Listener) -> None:
        """Return when the workers were asked once, whether or not they answered."""
        self._listener = listener
        await asyncio.to_thread(_empty, self._limits.scratch)
        await self._lookout.start()
        self._loops = [asyncio.get_running_loop().create_task(self._poll())]

    def jobs(self) -> list[str]:
        return list(self._catalog.jobs)

    def rooms(self) -> list[Room]:
        if self._stopping or self._clock.monotonic() < self._away_until:
            return []
        queues: dict[str, list[str]] = {}
        for job in self._catalog:
            queues.setdefault(_task_of(job.target).queue, []).append(job.name)
        return [
            Room(lane=f"celery:{queue}", jobs=tuple(jobs), places=self._places(queue) - self._taken(jobs))
            for queue, jobs in queues.items()
        ]

    def run(self, work: Work) -> None:
        task = work.task
        job = self._catalog.jobs[task.job]
        seconds = job.timeout_seconds or self._limits.timeout_seconds or math.inf
        made = Attempt(task=task, job=job, until=self._clock.monotonic() + seconds)
        self._attempts[task.id] = made
        self._do(self._begin(made))

    def cancel(self, task: Task) -> None:
        found = self._attempts.get(task.id)
        if found is not None and found.task.attempt == task.attempt:
            self._end_early(found, Stopped())

    def workers(self) -> list[WorkerState]:
        return [
            WorkerState(
                pid=worker.pid,
                lane=f"celery:{worker.name}",
                tasks=tuple(one.task.id for one in self._attempts.values() if one.holder == worker.name),
                busy_seconds=0.0,
                memory_bytes=0,
                tasks_done=0,
            )
            for worker in self._lookout.workers
        ]

    async def stop(self, *, grace_seconds: Seconds) -> None:
        """Give back what Celery runs: it goes on there, and whoever claims it next hears how it ends.

        Results that go only to this process (rpc://) would be lost: those attempts are waited for, then stopped.
        """
        if self._stopping:
            return
        self._stopping = True
        if not self._wire.keeps:
            until = self._clock.monotonic() + grace_seconds
            while self._attempts and self._clock.monotonic() < until:
                await asyncio.sleep(POLL_SECONDS)
        for loop in self._loops:
            loop.cancel()
        await self._lookout.stop()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._doing:
            await asyncio.wait(self._doing, timeout=STOP_SECONDS)
        for doing in self._doing:
            doing.cancel()
        await asyncio.gather(*self._doing, return_exceptions=True)
        for left in list(self._attempts.values()):
            if not self._wire.keeps and left.message_id:
                await self._quietly(partial(self._wire.revoke, left.message_id, signal="SIGTERM"))
            self._finish(left, left.stopping or Unrun(started=not self._wire.keeps and bool(left.message_id)))
        await asyncio.get_running_loop().run_in_executor(self._post, self._wire.close)
        await asyncio.to_thread(self._post.shutdown)

    async def _begin(self, made: Attempt) -> None:
        """Find out whether its message was sent already; else send it. What cannot be sent is given back."""
        try:
            found = await self._found(made)
            if found is None:
                found = message_id_of(made.task.id, made.task.attempt)
                await self._ask(partial(self._wire.send, self._message(made, found)))
            made.message_id = found
        except Away as error:
            self._is_away(error)
            self._finish(made, Unrun())
        except Exception as error:
            log.exception("task %s could not be handed to Celery", made.task.id)
            self._finish(made, attempts.lost(f"it could not be handed over: {error}", again=False))

    async def _found(self, made: Attempt) -> str | None:
        """Return the message of this or an earlier attempt that is under way, or whose result nobody has recorded."""
        if not self._wire.keeps:
            return None
        ids = [message_id_of(made.task.id, number) for number in range(made.task.attempt, 0, -1)]
        known = await self._ask(partial(self._wire.states, ids))
        for message_id in ids:
            meta = known.get(message_id)
            if meta is not None and (meta.status == "SUCCESS" or meta.status not in ENDED):
                return message_id
        return None

    def _message(self, made: Attempt, message_id: str) -> Message:
        given = msgspec.json.decode(made.task.input)
        bound = made.job.schema.bind(made.task.input, {})
        plain = {name: bound[name] if _is_plain(bound.get(name)) else value for name, value in given.items()}
        task = _task_of(made.job.target)
        args, kwargs = task.arguments(plain)
        return Message(id=message_id, task=task.name, args=args, kwargs=kwargs)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS if self._wire.keeps else POLL_SLOW_SECONDS)
            try:
                await self._poll_once()
            except Away as error:
                self._is_away(error)
                await asyncio.sleep(AWAY_SECONDS / 2)
            except Exception:
                log.exception("looking for results failed; trying again")

    async def _poll_once(self) -> None:
        now = self._clock.monotonic()
        for late in [one for one in self._attempts.values() if one.until < now]:
            late.until = math.inf
            self._end_early(late, attempts.overdue(late.job.timeout_seconds or self._limits.timeout_seconds or 0))
        waiting = {one.message_id: one for one in self._attempts.values() if one.message_id}
        if waiting:
            for message_id, meta in (await self._ask(partial(self._wire.states, list(waiting)))).items():
                self._saw(waiting[message_id], meta)

    def _saw(self, one: Attempt, meta: Meta) -> None:
        if self._attempts.get(one.task.id) is not one:
            return
        if meta.status not in ENDED:
            self._note(one, meta)
        elif one.stopping is not None and meta.status != "SUCCESS":
            self._finish(one, one.stopping)
        elif not one.ending:
            one.ending = True
            self._do(self._ended(one, attempts.outcome_of(meta)))

    async def _ended(self, one: Attempt, outcome: Outcome) -> None:
        if isinstance(outcome, Succeeded) and outcome.json is not None:
            json, limit = outcome.json, self._limits.result_bytes_max
            size = len(json)
            if size > limit:
                outcome = attempts.too_large(size, limit)
                await self._quietly(partial(self._wire.close_book, one.message_id))
            elif size > RESULT_INLINE_BYTES_MAX:
                outcome = Succeeded(file=await asyncio.to_thread(self._write, json))
        self._finish(one, outcome)

    def _write(self, json: bytes) -> LocalFile:
        path = self._limits.scratch / secrets.token_hex(16)
        path.write_bytes(json)
        return LocalFile(path=str(path), name="result.json", type="application/json", size=len(json))

    def _note(self, one: Attempt, meta: Meta) -> None:
        progress, now = attempts.progress_of(meta), self._clock.monotonic()
        if progress is None or progress == one.progress or now - one.told_at < NOTE_SECONDS:
            return
        one.progress, one.told_at = progress, now
        assert self._listener is not None
        self._listener.noted(Note(task=one.task, progress=progress))

    def _end_early(self, one: Attempt, outcome: Outcome) -> None:
        if one.stopping is None:
            one.stopping = outcome
            self._do(self._stop(one, outcome))

    async def _stop(self, one: Attempt, outcome: Outcome) -> None:
        """Revoke it; wait for the worker that has it to say that it has stopped, and then no longer."""
        while not one.message_id and self._attempts.get(one.task.id) is one:
            await asyncio.sleep(POLL_SECONDS)
        for signal, seconds in (("SIGTERM", self._limits.grace_seconds), ("SIGKILL", KILL_SECONDS)):
            if self._attempts.get(one.task.id) is not one:
                return
            await self._quietly(partial(self._wire.revoke, one.message_id, signal=signal))
            until = self._clock.monotonic() + (seconds if one.begun or signal == "SIGTERM" else 0.0)
            while self._attempts.get(one.task.id) is one and self._clock.monotonic() < until:
                await asyncio.sleep(POLL_SECONDS)
        await self._quietly(partial(self._wire.close_book, one.message_id))
        if self._attempts.get(one.task.id) is one:
            self._finish(one, outcome)

    async def _lost(self, one: Attempt, why: str) -> None:
        """Give up what nobody has; whether it may run once more is for its task to say."""
        known = await self._quietly(partial(self._wire.states, [one.message_id]))
        if self._attempts.get(one.task.id) is not one or one.stopping is not None or known is None:
            return
        if one.message_id in known and known[one.message_id].status in ENDED:
            return  # it has just ended
        again = _task_of(one.job.target).repeats
        await self._quietly(partial(self._wire.revoke, one.message_id, signal="SIGTERM"))
        await self._quietly(partial(self._wire.close_book, one.message_id))
        if self._attempts.get(one.task.id) is one:
            self._finish(one, attempts.lost(why, again=again, begun=one.begun))

    def _finish(self, one: Attempt, outcome: Outcome) -> None:
        """Tell how an attempt ended, once."""
        if self._attempts.get(one.task.id) is not one:
            return
        del self._attempts[one.task.id]
        if one.stopping is not None and not isinstance(outcome, Succeeded):
            outcome = one.stopping
        assert self._listener is not None
        self._listener.ended(one.task, outcome, ())
        self._room_freed()

    def _room_freed(self) -> None:
        assert self._listener is not None
        if not self._stopping:
            self._listener.room_freed()

    def _places(self, queue: str) -> int:
        places = self._lookout.places(queue)
        if self._limits.at_once_max is not None:
            return self._limits.at_once_max
        return places + math.ceil(places / 4)

    def _taken(self, jobs: list[str]) -> int:
        return sum(one.task.job in jobs for one in self._attempts.values())

    def _is_away(self, error: Away) -> None:
        now = self._clock.monotonic()
        if now >= self._away_until:
            log.warning("Celery's broker or result backend is away: %s", error)
            asyncio.get_running_loop().call_later(AWAY_SECONDS, self._room_freed)
        self._away_until = now + AWAY_SECONDS

    async def _quietly(self, call: Callable[[], T]) -> T | None:
        try:
            return await self._ask(call)
        except Away as error:
            self._is_away(error)
            return None

    async def _ask(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._post, call)

    def _do(self, what: Awaitable[None]) -> None:
        doing = asyncio.ensure_future(what)
        self._doing.add(doing)
        doing.add_done_callback(self._doing.discard)


def _task_of(target: object) -> CeleryTask:
    assert isinstance(target, CeleryTask)
    return target


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(child) for key, child in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return type(value) in (str, int, float, bool)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
