"""Records what attempts report, in order and all together: notes first, then ends; it gives up on none of them."""

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from offload.core.callback import delivery_of
from offload.core.errors import BodyTooLarge, DiskFull, EgressFailed, FileDoesNotExist, StoreUnavailable, TryAgain
from offload.core.files import stated_type
from offload.core.outcome import Failed, LocalFile, Outcome, Stopped, Succeeded, Unrun
from offload.core.retry import Retry
from offload.core.task import ALL, FileRef, Progress, Reason, Record, Seconds, Status, Task, TaskError, TaskEvent
from offload.core.transitions import Change, Event, Facts, after_failure, decide
from offload.engine.loops import Pauses
from offload.engine.parts import Parts
from offload.engine.uploads import upload
from offload.ports import Note

log = logging.getLogger("offload.ledger")

BATCH_MAX = 500
PAUSE_SECONDS_MAX = 2.0
"""The longest wait before a write that the store could not take is tried again."""
WISH_SECONDS_MAX = 3600.0
"""The longest wait for the next attempt that the source of an input file may ask for."""


class Ending(Record, frozen=True, kw_only=True):
    task: Task
    outcome: Outcome
    last_words: tuple[TaskEvent, ...] = ()
    result: bytes | None = None
    """Of an upload that failed: it is kept, and so is `result_file`."""
    result_file: FileRef | None = None


Recorded = Callable[[Change | None, Task], None]


class Ledger:
    """One writer for a node's attempts. While the store cannot write, reports wait here and the leases go on."""

    def __init__(self, parts: Parts, recorded: Recorded) -> None:
        self._parts = parts
        self._recorded = recorded
        self._notes: deque[Note] = deque()
        self._ends: deque[Ending] = deque()
        self._refused: list[Ending] = []
        """They could not be recorded, in a way that nobody foresaw."""
        self._retrying: asyncio.TimerHandle | None = None
        self._storing: set[asyncio.Task[None]] = set()
        self._uploading: dict[tuple[str, int], asyncio.Task[Failed | None]] = {}
        """By id and attempt."""
        self._storing_files: dict[tuple[str, int], bool] = {}
        """Attempts whose result is being stored; True: canceled meanwhile."""
        self._stopping = False
        self._writing: asyncio.Task[None] | None = None

    def note(self, note: Note) -> None:
        if note.progress is not None:
            note = self._with_progress(note, note.progress)
        self._notes.append(note)
        self._write_soon()

    def _with_progress(self, note: Note, progress: Progress) -> Note:
        task, now = note.task, self._parts.clock.now()
        told = _progress_event(progress, task, now)
        wants = task.callback is not None and "progress" in task.callback.events
        deliveries = (delivery_of(task, task.callback, "progress", now),) if task.callback and wants else ()
        return msgspec.structs.replace(note, events=(told, *note.events), deliveries=deliveries)

    def end(self, ending: Ending) -> None:
        outcome = ending.outcome
        if isinstance(outcome, Succeeded) and (outcome.file is not None or ending.task.upload_to):
            storing = asyncio.get_running_loop().create_task(self._bring_away(ending, outcome))
            self._storing.add(storing)
            storing.add_done_callback(self._storing.discard)
        else:
            self._ends.append(ending)
            self._write_soon()

    def cancel(self, task: Task) -> None:
        """Stop bringing its result away, if that is going on or cannot be begun."""
        attempt = (task.id, task.attempt)
        if attempt in self._uploading:
            self._uploading[attempt].cancel()
        if attempt in self._storing_files:
            self._storing_files[attempt] = True

    async def settled(self, until: Seconds) -> None:
        """Return when everything reported so far is recorded; uploads that go on are left to the next node.

        What fails in a way that nobody foresaw is tried once more, and then until a (monotonic) time: it may never end.
        """
        self._stopping = True
        for uploading in self._uploading.values():
            uploading.cancel()
        self._try_refused()
        await self._idle()
        while self._refused and self._parts.clock.monotonic() < until:
            await asyncio.sleep(PAUSE_SECONDS_MAX / 10)
            self._try_refused()
            await self._idle()
        if self._retrying is not None:
            self._retrying.cancel()
        await asyncio.sleep(0)

    async def _idle(self) -> None:
        while self._storing or self._writing is not None:
            writing = [self._writing] if self._writing is not None else []
            await asyncio.wait([*self._storing, *writing])

    def _write_soon(self) -> None:
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._notes or self._ends:
                # what comes while notes are written may be said by an attempt whose end comes right after it: that
                # end waits for the next round, so that all its attempt said is there before it
                ends = len(self._ends)
                await self._write_notes()
                await self._write_ends(ends)
        except Exception:
            log.exception("the ledger failed; going on with the next reports")
        finally:
            self._writing = None
            if self._notes or self._ends:
                self._write_soon()

    async def _write_notes(self) -> None:
        for _ in range(math.ceil(len(self._notes) / BATCH_MAX)):
            await self._write_some_notes()

    async def _write_some_notes(self) -> None:
        notes = [self._notes.popleft() for _ in range(min(len(self._notes), BATCH_MAX))]
        try:
            await self._parts.store.note(notes)
        except (DiskFull, StoreUnavailable) as error:
            self._parts.stats.store_retries += 1
            log.warning("progress of %d attempts was not kept: %s", len(notes), error)
            return
        for task_id in {note.task.id for note in notes}:
            self._parts.hub.publish(task_id)

    async def _write_ends(self, most: int) -> None:
        endings = [self._ends.popleft() for _ in range(min(most, BATCH_MAX))]
        if endings:
            with self._parts.traffic.moving():
                await self._write_together(endings)

    async def _write_together(self, endings: list[Ending]) -> None:
        """Record them; when that fails in a way that nobody foresaw, each alone, and those that fail alone later."""
        try:
            changes = [finished_change(self._parts, ending) for ending in endings]
            written = await self._apply(changes)
        except Exception:
            log.exception("%d ends could not be recorded, holding them", len(endings))
            if len(endings) > 1:
                for ending in endings:
                    await self._write_together([ending])
            else:
                self._hold(endings[0])
            return
        for ending, change, is_written in zip(endings, changes, written, strict=True):
            try:
                if is_written:
                    self._recorded(change, ending.task)
                else:
                    await self._again_or_drop(ending, change)
            except Exception:
                log.exception("an end could not be recorded, holding it", extra={"task": ending.task.id})
                self._hold(ending)

    def _hold(self, ending: Ending) -> None:
        self._refused.append(ending)
        if self._retrying is None:
            self._retrying = asyncio.get_running_loop().call_later(PAUSE_SECONDS_MAX, self._try_refused)

    def _try_refused(self) -> None:
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None
        if self._refused:
            self._ends.extend(self._refused)
            self._refused.clear()
            self._write_soon()

    async def _again_or_drop(self, ending: Ending, change: Change) -> None:
        """The task was changed by someone else: a flag does not matter, another holder or end does."""
        task: Task | None = None
        for _ in range(5):
            task = await self._get(ending.task.id)
            if task is not None and _is_written(task, change):
                self._recorded(change, ending.task)  # the store took it, and could not say so
                return
            if task is None or not _same_attempt(task, ending.task):
                break
            change = finished_change(self._parts, msgspec.structs.replace(ending, task=task))
            if (await self._apply([change]))[0]:
                self._recorded(change, ending.task)
                return
        if ending.result_file is not None and not _refers_to(task, ending.result_file):
            with contextlib.suppress(TryAgain):  # then a sweep finds it
                await self._parts.blobs.delete(ending.result_file.blob)
        self._recorded(None, ending.task)

    async def _get(self, task_id: str) -> Task | None:
        while True:
            try:
                return await self._parts.store.get(ALL, task_id)
            except (DiskFull, StoreUnavailable) as error:
                log.warning("cannot tell whether an end was recorded, asking again: %s", error, extra={"task": task_id})
            await asyncio.sleep(PAUSE_SECONDS_MAX)

    async def _apply(self, changes: list[Change]) -> list[bool]:
        pauses = Pauses(0.05, PAUSE_SECONDS_MAX)
        while True:
            try:
                return await self._parts.store.apply(changes)
            except (DiskFull, StoreUnavailable) as error:
                self._parts.stats.store_retries += 1
                log.warning("cannot record %d ended attempts, holding them: %s", len(changes), error)
            await asyncio.sleep(pauses.next())

    async def _bring_away(self, ending: Ending, done: Succeeded) -> None:
        """Make a result's file durable, and push the result where it is wanted, before the task is DONE."""
        if done.file is not None:
            ending = await self._store_file(ending, done.file)
        if ending.task.upload_to and isinstance(ending.outcome, Succeeded):
            ending = await self._upload(ending, done.json or b"null")
        self._ends.append(ending)
        self._write_soon()

    async def _upload(self, ending: Ending, json: bytes) -> Ending:
        attempt = (ending.task.id, ending.task.attempt)
        if self._stopping:
            return msgspec.structs.replace(ending, outcome=Unrun(started=True))
        uploading = asyncio.get_running_loop().create_task(upload(self._parts, ending.task, json, ending.result_file))
        self._uploading[attempt] = uploading
        await asyncio.wait([uploading])
        del self._uploading[attempt]
        if uploading.cancelled():
            outcome: Outcome = Unrun(started=True) if self._stopping else Stopped()
            return msgspec.structs.replace(ending, outcome=outcome)
        if (failed := uploading.result()) is None:
            return ending
        kept = json if ending.result_file is None else None
        return msgspec.structs.replace(ending, outcome=failed, result=kept)

    async def _store_file(self, ending: Ending, file: LocalFile) -> Ending:
        """Store it, however long that takes; given up only when the task is canceled or this node stops."""
        key, blob = (ending.task.id, ending.task.attempt), f"t/{ending.task.id}/out/{ending.task.attempt}"
        pauses = Pauses(0.05, PAUSE_SECONDS_MAX)
        self._storing_files[key] = False
        try:
            while True:
                try:
                    size, sha256 = await self._parts.blobs.adopt(blob, Path(file.path))
                    break
                except TryAgain as error:
                    self._parts.stats.store_retries += 1
                    log.warning("cannot store a result, holding it: %s", error, extra={"task": ending.task.id})
                if self._stopping or self._storing_files[key]:
                    outcome: Outcome = Unrun(started=True) if self._stopping else Stopped()
                    return msgspec.structs.replace(ending, outcome=outcome)
                await asyncio.sleep(pauses.next())
        except Exception as error:
            log.exception("a result cannot be stored", extra={"task": ending.task.id})
            return msgspec.structs.replace(ending, outcome=_unstorable(error))
        finally:
            del self._storing_files[key]
        media_type = stated_type(file.type, file.name)  # it may be what a client said
        stored = FileRef(blob=blob, name=file.name, type=media_type, size=size, sha256=sha256)
        return msgspec.structs.replace(ending, result_file=stored)


def finished_change(parts: Parts, ending: Ending) -> Change:
    """Return what the end of an attempt means for its task."""
    task, outcome = ending.task, ending.outcome
    facts = Facts(now=parts.clock.now(), log=ending.last_words, keep_seconds=parts.timing.payload_seconds)
    match outcome:
        case Succeeded():
            done = msgspec.structs.replace(facts, result=outcome.json, result_file=ending.result_file)
            return decide(task, Event.SUCCEED, done)
        case Failed():
            job = parts.catalog.jobs.get(task.job)
            retry = Retry() if job is None else job.retry
            facts = msgspec.structs.replace(facts, result=ending.result, result_file=ending.result_file)
            return after_failure(task, outcome, retry, facts, chance=parts.chance())
        case Stopped():
            return decide(task, Event.CANCEL, facts)
        case Unrun(started=started):
            if started and task.max_attempts == 1 and not task.cancel_requested:
                return decide(task, Event.FAIL, _begun_once(facts))
            return decide(task, Event.CANCEL if task.cancel_requested else Event.RELEASE, facts)


def missing_input(error: Exception) -> Failed:
    """Return the outcome of an attempt whose input files cannot be had; one that never can be burns none."""
    hopeless = isinstance(error, FileDoesNotExist | BodyTooLarge)
    wish = None
    if isinstance(error, EgressFailed):
        hopeless = not error.temporary
        wish = None if error.retry_seconds is None else min(error.retry_seconds, WISH_SECONDS_MAX)
    return Failed(
        reason=Reason.INPUT_UNAVAILABLE,
        error=TaskError(type=type(error).__name__, message=f"an input file cannot be had: {error}"),
        retry=not hopeless,
        retry_after_seconds=wish,
        begun=not hopeless,
    )


def _begun_once(facts: Facts) -> Facts:
    """A task that may be tried once has been, whoever ended the attempt: at most once is what its owner asked for."""
    message = "the attempt was ended with its worker after it had begun, and this task is tried at most once"
    error = TaskError(type="WorkerStopped", message=message)
    return msgspec.structs.replace(facts, reason=Reason.WORKER_LOST, error=error)


def _progress_event(progress: Progress, task: Task, now: Seconds) -> TaskEvent:
    data = {"fraction": progress.fraction, "message": progress.message}
    return TaskEvent(kind="progress", at=now, attempt=task.attempt, data=msgspec.json.encode(data))


def _unstorable(error: Exception) -> Failed:
    message = f"the result cannot be stored: {error}"
    return Failed(reason=Reason.ERROR, error=TaskError(type=type(error).__name__, message=message))


def _same_attempt(task: Task, reported: Task) -> bool:
    """Tell whether a task is still in the attempt that reports; one given back and claimed anew has the same number."""
    same = (reported.attempt, reported.node, reported.started_at)
    return task.status is Status.RUNNING and (task.attempt, task.node, task.started_at) == same


def _refers_to(task: Task | None, file: FileRef) -> bool:
    """Tell whether a file is a task's result: another node may have been told of the same one, and was first."""
    return task is not None and task.result_file is not None and task.result_file.blob == file.blob


def _is_written(task: Task, change: Change) -> bool:
    """Tell whether a change is in the store already: a connection may be lost between a commit and its answer."""
    after = change.after
    fields = ("version", "status", "attempt", "run_at", "finished_at", "result_file")
    return all(getattr(task, name) == getattr(after, name) for name in fields)
