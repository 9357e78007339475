"""What workers elsewhere say of the attempts that are lent to them; each word counts only while the lease is held."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4
from weakref import WeakValueDictionary

import msgspec

from offload.core.errors import FileDoesNotExist, TryAgain
from offload.core.lease import PREFIX, Lease, LeaseDoesNotExist, LeaseLost, Use, read, ticket_of
from offload.core.outcome import Failed, Succeeded
from offload.core.schema import WrongResult
from offload.core.task import ALL, FileRef, Progress, Reason, Record, Scope, Seconds, Status, Task
from offload.core.transitions import Event, Facts, decide
from offload.engine.dispatcher import Dispatcher
from offload.engine.ledger import Ending
from offload.engine.lent import Lent, lent
from offload.engine.logbook import Logbook
from offload.engine.parts import Parts, count_claimed
from offload.engine.writing import whole, write_all
from offload.ports import Note

JSON_TYPE = "application/json"
NOTE = "uploaded"
"""The blob beside uploaded results that says which of them counts."""
NOTE_BYTES_MAX = 64 * 1024
EARLIER_MAX = 100
"""Uploads that are kept beside the newest one; beyond them the oldest goes."""
RECORD_SECONDS_MAX = 30.0
"""An end that takes longer to be recorded, because its result is pushed somewhere, is acknowledged before it is."""


TICKET_SECONDS = 86_400.0
"""How long an attempt that was begun by a ticket may take when its job has no limit."""


class _Uploaded(FileRef, frozen=True, kw_only=True):
    """What the note beside uploads says: the one that counts, and those that it replaced."""

    earlier: tuple[str, ...] = ()
    """Their blobs: an end that is still being recorded, here or at another node, may be about one of them."""

    @property
    def file(self) -> FileRef:
        return FileRef(blob=self.blob, name=self.name, type=self.type, size=self.size, sha256=self.sha256)


class Beat(Record, frozen=True, kw_only=True):
    expires_at: Seconds
    canceled: bool


class Leases:
    """Any node of the store can serve any lease: what is true of it is in its task's row."""

    def __init__(self, parts: Parts, dispatcher: Dispatcher) -> None:
        self._parts = parts
        self._dispatcher = dispatcher
        self._logbook = Logbook(parts)
        self._locks: WeakValueDictionary[Lease, asyncio.Lock] = WeakValueDictionary()

    def message(self, task: Task, *, prefix: str) -> Lent:
        """Return what the worker that gets this task is told."""
        third = self._parts.timing.lease_seconds / 3
        return lent(task, self._parts.secret, prefix=prefix, heartbeat_seconds=third)

    async def heartbeat(self, scope: Scope, text: str, progress: Progress | None) -> Beat:
        """Prolong a lease, but not beyond the time of its job, nor once it is canceled. Raise LeaseLost."""
        lease = self._read(text, Use.HOLD)
        task = await self._held(lease, scope, text)
        assert task.lease_until is not None
        now, ends_by = self._parts.clock.now(), self._parts.ends_by(task)
        if ends_by is not None and ends_by <= now:
            raise _lost(lease)
        until = task.lease_until
        if not task.cancel_requested:
            until = now + self._parts.timing.lease_seconds
            until = until if ends_by is None else min(until, ends_by)
            (renewal,) = await self._parts.store.renew([task], lease_until=until)
            if not renewal.held:
                raise _lost(lease)
            task = msgspec.structs.replace(task, cancel_requested=renewal.cancel_requested)
        if progress is not None and progress != task.progress:
            self._dispatcher.note(Note(task=task, progress=progress))
        return Beat(expires_at=until, canceled=task.cancel_requested)

    async def log(self, scope: Scope, text: str, said: bytes) -> int:
        """Keep what an attempt says, as far as there is room, and return how much is left of that. Raise LeaseLost."""
        lease = self._read(text, Use.HOLD)
        task = await self._held(lease, scope, text)
        event, left = await self._logbook.add(lease, task, said)
        if event is not None:
            self._dispatcher.note(Note(task=task, events=(event,)))
        return left

    async def done(self, scope: Scope, text: str, json: bytes | None) -> Task:
        """Record a result: this JSON, or the file that was uploaded. Say it again and nothing changes.

        Return the task as it is then; it is still RUNNING when its result takes long to be brought where it is wanted.
        Raise LeaseLost, WrongResult.
        """
        return await self._done(self._read(text, Use.HOLD), scope, text, json)

    async def done_by_link(self, text: str, json: bytes | None) -> Task:
        """Do the same for whoever has the link for the upload."""
        return await self._done(self._read(text, Use.WRITE), ALL, text, json)

    async def _done(self, lease: Lease, scope: Scope, text: str, json: bytes | None) -> Task:
        async with self._lock(lease):
            task = await self._visible(lease, scope, text)
            if _is_done(lease, task):
                return task
            _check_held(lease, task)
            uploaded = await self._uploaded(lease)
            file = None if uploaded is None else uploaded.file
            self._check_result(task, json, file)
            if file is None and json is not None and len(json) > self._parts.lending.json_inline_bytes_max:
                file, json = await self._stored_json(lease, json), None
            elif file is None:
                json = json or b"null"
            ended = await self._end(lease, Ending(task=task, outcome=Succeeded(json=json), result_file=file))
            if uploaded is not None and ended.result_file == file:
                with contextlib.suppress(TryAgain):  # then they go with the task's payload
                    for blob in uploaded.earlier:
                        await self._parts.blobs.delete(blob)
            return ended

    async def failed(self, scope: Scope, text: str, failed: Failed) -> Task:
        """Record that an attempt ended without a result; a canceled one is CANCELED then. Raise LeaseLost."""
        return await self._failed(self._read(text, Use.HOLD), scope, text, failed)

    async def failed_by_link(self, text: str, failed: Failed) -> Task:
        """Do the same for whoever has the link for the upload."""
        return await self._failed(self._read(text, Use.WRITE), ALL, text, failed)

    async def returned(self, text: str, failed: Failed) -> None:
        """Record the failure of an attempt whose message came back, unless it has ended already."""
        with contextlib.suppress(LeaseLost, LeaseDoesNotExist):
            await self.failed(ALL, text, failed)

    async def takes_json(self, text: str) -> bool:
        """Tell whether the result that belongs to an upload's link is JSON and no file. Raise LeaseLost."""
        task = await self._visible(self._read(text, Use.WRITE), ALL, text)
        job = self._parts.catalog.jobs.get(task.job)
        return job is None or not job.schema.returns_file

    async def _failed(self, lease: Lease, scope: Scope, text: str, failed: Failed) -> Task:
        task = await self._visible(lease, scope, text)
        if lease.held(task) and task.status is Status.FAILED and task.reason is Reason.ERROR:
            return task
        _check_held(lease, task)
        return await self._end(lease, Ending(task=task, outcome=failed))

    async def input_file(self, text: str, field: str) -> FileRef:
        """Return an input file. Raise LeaseLost, FileDoesNotExist."""
        task = await self._held(self._read(text, Use.READ), ALL, text)
        file = next((file for file in task.files if file.field == field), None)
        if file is None or file.url:
            raise FileDoesNotExist(field)
        return file

    async def result_bytes_max(self, text: str) -> int:
        """Return how large a file may be uploaded as the result. Raise LeaseLost."""
        task = await self._held(self._read(text, Use.WRITE), ALL, text)
        job = self._parts.catalog.jobs.get(task.job)
        own = None if job is None else job.result_bytes_max
        return self._parts.lending.result_bytes_max if own is None else own

    async def upload(self, text: str, chunks: AsyncIterator[bytes], *, name: str, type: str) -> FileRef:
        """Store what `done` will make the result, instead of what was uploaded before.

        Raise LeaseLost, BodyTooLarge, DiskFull.
        """
        bytes_max = await self.result_bytes_max(text)
        lease = self._read(text, Use.WRITE)
        blobs = self._parts.blobs
        blob = f"{_folder(lease)}/{uuid4().hex}"
        size, sha256 = await write_all(blobs.writer(blob, bytes_max=bytes_max), chunks)
        file = FileRef(blob=blob, name=name, type=type, size=size, sha256=sha256)
        async with self._lock(lease):
            task = await self._visible(lease, ALL, text)
            if task.status is not Status.RUNNING or not lease.held(task):
                await blobs.delete(blob)
                raise _lost(lease)
            before = await self._uploaded(lease)
            earlier = () if before is None else (*before.earlier, before.blob)
            noted = _Uploaded(**msgspec.structs.asdict(file), earlier=earlier[-EARLIER_MAX:])
            note = blobs.writer(f"{_folder(lease)}/{NOTE}", bytes_max=NOTE_BYTES_MAX)
            await write_all(note, whole(msgspec.json.encode(noted)))
            for old in earlier[:-EARLIER_MAX]:
                await blobs.delete(old)
        return file

    async def _end(self, lease: Lease, ending: Ending) -> Task:
        recording = self._dispatcher.finish(ending)
        await asyncio.wait([recording], timeout=RECORD_SECONDS_MAX)
        if not recording.done():
            return ending.task
        if (change := recording.result()) is None:
            task = await self._parts.store.get(ALL, lease.task_id)
            if task is not None and isinstance(ending.outcome, Succeeded) and _is_done(lease, task):
                return task  # another node was told of the same end, and was first
            raise _lost(lease)
        if change.after.result_file is None:
            await self._parts.blobs.delete(_folder(lease))
        return change.after

    def _check_result(self, task: Task, json: bytes | None, file: FileRef | None) -> None:
        def wrong(message: str) -> WrongResult:
            return WrongResult(task.job, [{"loc": [], "message": message}])

        job = self._parts.catalog.jobs.get(task.job)
        if json is not None and file is not None:
            raise wrong("a file was uploaded; send no JSON with `done`, or fail")
        if job is None or file is not None:
            return
        if job.schema.returns_file:
            raise wrong("the job returns a file: PUT it at `upload_to` first, and send no JSON with `done`")
        job.schema.check_result(json or b"null")
        limit = self._parts.lending.result_bytes_max if job.result_bytes_max is None else job.result_bytes_max
        if len(json or b"") > limit:
            raise wrong(f"it is larger than the limit of {limit:,} bytes")

    async def _stored_json(self, lease: Lease, json: bytes) -> FileRef:
        blob = f"{_folder(lease)}/{uuid4().hex}"
        size, sha256 = await write_all(self._parts.blobs.writer(blob, bytes_max=len(json)), whole(json))
        return FileRef(blob=blob, name="result.json", type=JSON_TYPE, size=size, sha256=sha256)

    async def _uploaded(self, lease: Lease) -> _Uploaded | None:
        try:
            note = b"".join([chunk async for chunk in self._parts.blobs.read(f"{_folder(lease)}/{NOTE}")])
        except FileDoesNotExist:
            return None
        return msgspec.json.decode(note, type=_Uploaded)

    def _read(self, text: str, use: Use) -> Lease:
        lease = read(self._parts.secret, use, text)
        if lease is None:
            raise LeaseDoesNotExist(text)
        return lease

    async def _held(self, lease: Lease, scope: Scope, text: str) -> Task:
        task = await self._visible(lease, scope, text)
        _check_held(lease, task)
        return task

    async def _visible(self, lease: Lease, scope: Scope, text: str) -> Task:
        """Return a lease's task, whatever became of it; a foreign lease is one that never was."""
        task = await self._parts.store.get(ALL, lease.task_id)
        if task is None:
            raise _lost(lease)
        if scope.owner not in (None, task.owner):
            raise LeaseDoesNotExist(text)
        if task.status is Status.QUEUED and lease == ticket_of(self._parts.secret, task):
            return await self._begun(lease, task)
        return task

    async def _begun(self, lease: Lease, task: Task) -> Task:
        """Claim a task for whoever first uses the ticket of its next attempt."""
        parts, now = self._parts, self._parts.clock.now()
        if task.run_at is not None and task.run_at > now:
            return task
        facts = Facts(now=now, node=lease.node, lease_until=now + TICKET_SECONDS)
        change = decide(task, Event.CLAIM, facts)
        until = parts.ends_by(change.after)
        if until is not None:  # nobody has promised heartbeats: the attempt may take what its job gives it
            change = decide(task, Event.CLAIM, msgspec.structs.replace(facts, lease_until=until))
        with parts.traffic.moving():
            if (await parts.store.apply([change]))[0]:
                count_claimed(parts, change.after, now, here=False)
                return change.after
        return await parts.store.get(ALL, task.id) or task

    def _lock(self, lease: Lease) -> asyncio.Lock:
        return self._locks.setdefault(lease, asyncio.Lock())


def _is_done(lease: Lease, task: Task) -> bool:
    """Tell whether the attempt has ended with a result, wherever it is."""
    return lease.held(task) and (task.status is Status.DONE or task.reason is Reason.UPLOAD_FAILED)


def _check_held(lease: Lease, task: Task) -> None:
    if task.status is not Status.RUNNING or not lease.held(task):
        raise _lost(lease)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(lease.task_id, lease.attempt)


def _folder(lease: Lease) -> str:
    """Return where an attempt's uploads are: no other attempt, and no other lease of this one, has the same."""
    return f"t/{lease.task_id}/out/{lease.attempt}-{lease.node.removeprefix(PREFIX)}"
