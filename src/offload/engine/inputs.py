"""Brings the files of claimed tasks to where a worker can read them; those named by URL are fetched first."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from offload.core.errors import EgressFailed, TryAgain
from offload.core.outcome import Outcome, Unrun
from offload.core.task import FileRef, Seconds, Task
from offload.engine.ledger import missing_input
from offload.engine.loops import Pauses
from offload.engine.parts import Parts
from offload.ports import Note, Work

log = logging.getLogger("offload.inputs")

PAUSE_SECONDS_MAX = 2.0
"""The longest wait before a note that the store could not take is tried again."""


class _LeaseLost(Exception):
    """Another attempt has the task: what was fetched is nobody's."""


Attempt = tuple[str, int]
"""A task's id and the number of its attempt: one that lost its lease may still be here when the next one comes."""


class Inputs:
    """Says `ready` with the work, or `over` with how the attempt ended before it began; exactly one, once."""

    def __init__(
        self,
        parts: Parts,
        fetched: Callable[[Task], None],
        ready: Callable[[Work], None],
        over: Callable[[Task, Outcome], None],
        room_freed: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._file_fetched = fetched
        """Called when one more file of a task is here, and its attempt recorded so."""
        self._room_freed = room_freed
        """Called when one has been fetched, or is not fetched any more."""
        self._ready = ready
        self._over = over
        self._preparing: dict[Attempt, asyncio.Task[Work | Outcome]] = {}
        self._jobs: dict[Attempt, str] = {}
        """Of those that are prepared in the order in which they came; the first of them that fetch take no place."""
        self._fetching: set[Attempt] = set()
        self._room = asyncio.Semaphore(parts.fetching.at_once_max)

    def prepare(self, task: Task) -> None:
        attempt = (task.id, task.attempt)
        self._jobs[attempt] = task.job
        if any(file.url for file in task.files):
            self._fetching.add(attempt)
        preparing = asyncio.get_running_loop().create_task(self._prepare(task))
        self._preparing[attempt] = preparing
        preparing.add_done_callback(partial(self._prepared, task))

    def taken(self) -> Counter[str]:
        """Count, by job, the workers' places that tasks hold that are being prepared.

        As many as may fetch at a time hold none, so that slow sources keep no worker idle; more do, or a node would
        claim tasks without end that it cannot run.
        """
        free = self._parts.fetching.at_once_max
        found: Counter[str] = Counter()
        for attempt, job in self._jobs.items():
            if attempt in self._fetching and free > 0:
                free -= 1
            else:
                found[job] += 1
        return found

    @property
    def fetches_enough(self) -> bool:
        return len(self._fetching) >= self._parts.fetching.at_once_max

    def cancel(self, task: Task) -> None:
        """Stop bringing its files here, if that is going on."""
        if (attempt := (task.id, task.attempt)) in self._preparing:
            self._preparing[attempt].cancel()

    async def stop(self) -> None:
        """Give back what is being prepared."""
        for preparing in self._preparing.values():
            preparing.cancel()
        while self._preparing:
            await asyncio.wait(self._preparing.values())

    async def _prepare(self, task: Task) -> Work | Outcome:
        try:
            task = await self._fetched(task)
            paths = {file.blob: await self._local_path(task, file) for file in task.files}
        except _LeaseLost:
            return Unrun()
        except Exception as error:
            log.warning("input files cannot be had: %s", error, extra={"task": task.id})
            return missing_input(error)
        return Work(task=task, paths=paths)

    async def _local_path(self, task: Task, file: FileRef) -> str:
        """Return where a worker can read a file; while the blobs are away it waits for them, and burns no attempt."""
        pauses = Pauses(0.05, PAUSE_SECONDS_MAX)
        while True:
            try:
                return str(await self._parts.blobs.local_path(file.blob))
            except TryAgain as error:
                self._parts.stats.store_retries += 1
                log.warning("cannot bring input files here, trying again: %s", error, extra={"task": task.id})
            await asyncio.sleep(pauses.next())

    def _prepared(self, task: Task, preparing: "asyncio.Task[Work | Outcome]") -> None:
        attempt = (task.id, task.attempt)
        if self._preparing.get(attempt) is preparing:  # else it was given back elsewhere, and has come here anew
            if attempt in self._fetching:
                self._fetching.discard(attempt)
                self._room_freed()
            del self._jobs[attempt], self._preparing[attempt]
        prepared = Unrun() if preparing.cancelled() else preparing.result()
        if isinstance(prepared, Work):
            self._ready(prepared)
        else:
            self._over(task, prepared)

    async def _fetched(self, task: Task) -> Task:
        """Return the task with every file here, and recorded so: another attempt does not fetch them again."""
        bytes_left = self._parts.fetching.bytes_max
        for place, file in enumerate(task.files):
            if file.url:
                async with self._room:
                    file = await self._fetch(task, file, bytes_left)
                files = (*task.files[:place], file, *task.files[place + 1 :])
                task = msgspec.structs.replace(task, files=files, input_bytes=task.input_bytes + file.size)
                await self._keep(task, grown_bytes=file.size)
                bytes_left -= file.size
        return task

    async def _fetch(self, task: Task, file: FileRef, bytes_max: int) -> FileRef:
        """Fetch one file within its tries and its time; what is temporary and outlasts them is raised."""
        limits, clock = self._parts.fetching, self._parts.clock
        until = clock.monotonic() + limits.seconds_max
        pause_seconds = limits.pause_seconds
        for tries_left in reversed(range(limits.tries_max)):
            try:
                # each claim has a name of its own: one that lost its lease cannot write over what the next one fetches
                blob = f"{file.blob}-{task.version}"
                with self._parts.traces.calling("fetch", self._parts.traces.of(task), task) as going:
                    left = until - clock.monotonic()
                    found = await self._fetch_once(file, blob, bytes_max, seconds_max=left, headers=going.fields)
                self._parts.stats.brought("fetch", "done", found.size)
                return found
            except EgressFailed as error:
                self._parts.stats.brought("fetch", "failed" if error.temporary else "refused")
                wait_seconds = max(pause_seconds * (0.5 + self._parts.chance() / 2), error.retry_seconds or 0.0)
                if not error.temporary or not tries_left or clock.monotonic() + wait_seconds >= until:
                    raise
                log.info("input file %r, trying again: %s", file.field, error, extra={"task": task.id})
            await asyncio.sleep(wait_seconds)
            pause_seconds *= 2
        raise AssertionError("the last try returns or raises")

    async def _fetch_once(
        self, file: FileRef, blob: str, bytes_max: int, *, seconds_max: Seconds, headers: Mapping[str, str]
    ) -> FileRef:
        sink = self._parts.blobs.writer(blob, bytes_max=bytes_max)
        try:
            found = await self._parts.egress.fetch(
                file.url, sink, bytes_max=bytes_max, seconds_max=seconds_max, headers=headers
            )
            size, sha256 = await sink.commit()
        except BaseException:
            await sink.abort()
            raise
        return FileRef(blob=blob, name=found.name, type=found.type, size=size, sha256=sha256, field=file.field)

    async def _keep(self, task: Task, *, grown_bytes: int) -> None:
        """Record which files are here, and their size; the URL of each, which may be signed, is forgotten by that."""
        with self._parts.traffic.moving():
            if not await self._note(Note(task=task, files=task.files, grown_bytes=grown_bytes)):
                raise _LeaseLost
            self._parts.traffic.grew(task.queue, grown_bytes)
        self._file_fetched(task)
        self._parts.hub.publish(task.id)

    async def _note(self, note: Note) -> bool:
        """Return whether the attempt still holds its task."""
        pauses = Pauses(0.05, PAUSE_SECONDS_MAX)
        while True:
            try:
                return (await self._parts.store.note([note]))[0]
            except TryAgain as error:
                self._parts.stats.store_retries += 1
                log.warning("cannot record a fetched file, trying again: %s", error, extra={"task": note.task.id})
            await asyncio.sleep(pauses.next())
