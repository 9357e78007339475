"""A store in memory: the reference that every other store is compared with, and the one for tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from offload.core.errors import IdempotencyKeyReused, TaskAlreadyExists
from offload.core.task import Scope, Seconds, Status, Task, TaskEvent
from offload.core.transitions import Change, Event, Facts, decide, difference
from offload.ports import Added, Ask, Depth, Filter, LooseFile, NewTask, Note, Purged, Renewal, Retention
from offload.stores.memory_deliveries import MemoryDeliveries
from offload.stores.memory_history import MemoryHistory
from offload.stores.memory_keys import MemoryKeys
from offload.stores.memory_schedules import MemorySchedules


@dataclass(slots=True, kw_only=True)
class _Row:
    task: Task
    fingerprint: str
    ready: bool = False
    """QUEUED and due, as far as the last claim knew."""
    events: list[TaskEvent] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _UsedKey:
    fingerprint: str
    key: int
    created_at: Seconds


class MemoryStore:
    """Keep every promise of the ports but durability: TaskStore, QueueStore, FileStore, and those of its attributes."""

    def __init__(self) -> None:
        self._rows: dict[int, _Row] = {}
        self._keys: dict[str, int] = {}
        self._used: dict[tuple[str, str], _UsedKey] = {}
        self._paused: set[str] = set()
        self._files: dict[str, LooseFile] = {}
        self._last_key = 0
        self.deliveries = MemoryDeliveries()
        self.history = MemoryHistory()
        self.schedules = MemorySchedules(self.add)
        self.keys = MemoryKeys(
            tasks=lambda: [row.task for row in self._rows.values()],
            due=lambda queue: [row.task for row in self._line(queue)],
            files=lambda: self._files.values(),
        )

    async def add(self, new: Sequence[NewTask]) -> list[Added]:
        last_key, used = self._last_key, dict(self._used)
        made: list[int] = []
        added: list[Added] = []
        try:
            for one in new:
                earlier = self._earlier(one)
                if earlier is None:
                    made.append(self._insert(one))
                    earlier = self._rows[made[-1]].task
                    added.append(Added(task=earlier, fresh=True))
                else:
                    added.append(Added(task=earlier, fresh=False))
        except Exception:
            for key in made:
                self._forget(key)
            self._last_key, self._used = last_key, used
            raise
        return added

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        return [self._apply(change) for change in changes]

    async def claim(self, asks: Sequence[Ask], *, node: str, now: Seconds, lease_until: Seconds) -> list[Task]:
        facts = Facts(now=now, lease_until=lease_until, node=node)
        for row in self._queued():
            row.ready = row.ready or _run_at(row.task) <= now
        claimed: list[Task] = []
        for ask in asks:
            line = [row.task for row in self._line(ask.queue) if row.task.job in ask.jobs]
            line = [task for task in line if ask.owner in (None, task.owner)]
            for task in [t for t in line if t.deadline_at is None or t.deadline_at > now][: ask.limit]:
                self._apply(decide(task, Event.CLAIM, facts))
                claimed.append(self._rows[task.key].task)
        return claimed

    async def note(self, notes: Sequence[Note]) -> list[bool]:
        return [self._note(note) for note in notes]

    async def renew(self, held: Sequence[Task], *, lease_until: Seconds) -> list[Renewal]:
        return [self._renew(task, lease_until) for task in held]

    async def overdue(self, *, now: Seconds, limit: int) -> list[Task]:
        found = [
            (since, row.task.key, row.task)
            for row in self._rows.values()
            if (since := _overdue_since(row.task)) is not None and since <= now
        ]
        return [task for _, _, task in sorted(found, key=lambda entry: entry[:2])][:limit]

    async def next_due(self, now: Seconds) -> Seconds | None:
        times = [time for row in self._queued() for time in (row.task.run_at, row.task.deadline_at)]
        return min((time for time in times if time is not None and time > now), default=None)

    async def get(self, scope: Scope, task_id: str) -> Task | None:
        row = self._seen(scope, task_id)
        return None if row is None else row.task

    async def find(self, scope: Scope, wanted: Filter) -> list[Task]:
        newest_first = (self._rows[key].task for key in sorted(self._rows, reverse=True))
        matching = [task for task in newest_first if _in_scope(scope, task.owner) and _matches(wanted, task)]
        return matching[: wanted.limit]

    async def events(self, scope: Scope, task_id: str, *, after: int = 0, limit: int = 1000) -> list[TaskEvent]:
        row = self._seen(scope, task_id)
        return [] if row is None else [event for event in row.events if event.n > after][:limit]

    async def depths(self) -> list[Depth]:
        active = [row for row in self._rows.values() if row.task.status in (Status.QUEUED, Status.RUNNING)]
        places = sorted({(row.task.queue, row.task.job) for row in active})
        return [
            _depth(queue, job, [row for row in active if (row.task.queue, row.task.job) == (queue, job)])
            for queue, job in places
        ]

    async def purge(self, what: Retention) -> Purged:
        blobless: list[str] = []
        for row in self._expired(what):
            blobless.append(row.task.id)
            self._drop_payload(row)
        ended = self._past_audit(what)
        for row in ended:
            if not row.task.payload_dropped:
                blobless.append(row.task.id)
            self._forget(row.task.key)
        old = [used for used, it in self._used.items() if it.created_at <= what.now - what.key_seconds][: what.limit]
        for used in old:
            del self._used[used]
        return Purged(task_ids=tuple(blobless), rows=len(ended), keys=len(old))

    async def paused(self) -> frozenset[str]:
        return frozenset(self._paused)

    async def set_paused(self, queue: str, paused: bool) -> None:
        (self._paused.add if paused else self._paused.discard)(queue)

    async def position(self, task: Task, *, most: int) -> int | None:
        if task.status is not Status.QUEUED:
            return None
        place = (task.rank, task.key)
        before = sum((row.task.rank, row.task.key) < place for row in self._line(task.queue))
        return None if before > most else before

    async def add_file(self, file: LooseFile) -> None:
        self._files[file.id] = file

    async def get_file(self, scope: Scope, file_id: str) -> LooseFile | None:
        file = self._files.get(file_id)
        return file if file is not None and _in_scope(scope, file.owner) else None

    async def purge_files(self, *, created_before: Seconds, limit: int) -> list[str]:
        old = sorted((file.created_at, file.id) for file in self._files.values() if file.created_at < created_before)
        for _, file_id in old[:limit]:
            del self._files[file_id]
        return [file_id for _, file_id in old[:limit]]

    def _earlier(self, new: NewTask) -> Task | None:
        if new.idempotency_key is not None:
            used = self._used.get((new.task.owner, new.idempotency_key))
            if used is not None and used.key in self._rows:
                if used.fingerprint != new.fingerprint:
                    raise IdempotencyKeyReused(new.idempotency_key)
                return self._rows[used.key].task
        key = self._keys.get(new.task.id)
        if key is None:
            return None
        row = self._rows[key]
        if row.task.owner != new.task.owner or row.fingerprint != new.fingerprint:
            raise TaskAlreadyExists(new.task.id)
        return row.task

    def _insert(self, new: NewTask) -> int:
        self._last_key = key = self._last_key + 1
        task = msgspec.structs.replace(new.task, key=key, event_count=0)
        row = self._rows[key] = _Row(task=task, fingerprint=new.fingerprint)
        self._keys[task.id] = key
        if new.idempotency_key is not None:
            used = _UsedKey(fingerprint=new.fingerprint, key=key, created_at=task.created_at)
            self._used[task.owner, new.idempotency_key] = used
        self._put(row, task, new.events)
        return key

    def _apply(self, change: Change) -> bool:
        row = self._rows.get(change.before.key)
        fence = (change.before.id, change.before.version, change.before.attempt)
        if row is None or (row.task.id, row.task.version, row.task.attempt) != fence:
            return False
        self._put(row, msgspec.structs.replace(row.task, **difference(change)), change.events)
        self.deliveries.add(change.deliveries)
        if change.after.payload_dropped and not change.before.payload_dropped:
            row.events = [event for event in row.events if event.kind == "status"]
        return True

    def _put(self, row: _Row, task: Task, events: Sequence[TaskEvent]) -> None:
        numbered = [msgspec.structs.replace(event, n=task.event_count + i) for i, event in enumerate(events, 1)]
        row.events += numbered
        row.task = msgspec.structs.replace(task, event_count=task.event_count + len(numbered))
        decided_at = events[-1].at if events else task.queued_at
        row.ready = task.status is Status.QUEUED and (decided_at is None or _run_at(task) <= decided_at)

    def _note(self, note: Note) -> bool:
        row = self._held(note.task)
        if row is None:
            return False
        progress = row.task.progress if note.progress is None else note.progress
        files = row.task.files if note.files is None else note.files
        grown = row.task.input_bytes + note.grown_bytes
        noted = msgspec.structs.replace(row.task, progress=progress, files=files, input_bytes=grown)
        self._put(row, noted, note.events)
        self.deliveries.add(note.deliveries)
        return True

    def _renew(self, task: Task, lease_until: Seconds) -> Renewal:
        row = self._held(task)
        if row is None:
            return Renewal(held=False)
        row.task = msgspec.structs.replace(row.task, lease_until=lease_until)
        return Renewal(held=True, cancel_requested=row.task.cancel_requested)

    def _held(self, task: Task) -> _Row | None:
        row = self._rows.get(task.key)
        if row is None or row.task.status is not Status.RUNNING:
            return None
        return row if (row.task.id, row.task.attempt, row.task.node) == (task.id, task.attempt, task.node) else None

    def _seen(self, scope: Scope, task_id: str) -> _Row | None:
        key = self._keys.get(task_id)
        return self._rows[key] if key is not None and _in_scope(scope, self._rows[key].task.owner) else None

    def _queued(self) -> list[_Row]:
        return [row for row in self._rows.values() if row.task.status is Status.QUEUED]

    def _line(self, queue: str) -> list[_Row]:
        ready = [row for row in self._rows.values() if row.ready and row.task.queue == queue]
        return sorted(ready, key=lambda row: (row.task.rank, row.task.key))

    def _expired(self, what: Retention) -> list[_Row]:
        active = (Status.QUEUED, Status.RUNNING)
        rows = [row for row in self._rows.values() if not row.task.payload_dropped and row.task.status not in active]
        found = [(row.task.expires_at, row.task.key) for row in rows if row.task.expires_at is not None]
        return [self._rows[key] for at, key in sorted(found)[: what.limit] if at <= what.now]

    def _past_audit(self, what: Retention) -> list[_Row]:
        rows = [row.task for row in self._rows.values() if row.task.final and row.task.key < self._last_key]
        found = [(task.finished_at, task.key) for task in rows if task.finished_at is not None]
        return [self._rows[key] for at, key in sorted(found)[: what.limit] if at <= what.now - what.audit_seconds]

    def _drop_payload(self, row: _Row) -> None:
        error = row.task.error
        row.task = msgspec.structs.replace(
            row.task,
            version=row.task.version + 1,  # a change decided on the whole task must not be written now
            input=b"{}",
            files=(),
            result=None,
            result_file=None,
            upload_to="",
            error=None if error is None else msgspec.structs.replace(error, traceback=""),
            payload_dropped=True,
        )
        row.events = [event for event in row.events if event.kind == "status"]

    def _forget(self, key: int) -> None:
        task_id = self._rows.pop(key).task.id
        del self._keys[task_id]
        self.deliveries.forget(task_id)


def _run_at(task: Task) -> Seconds:
    assert task.run_at is not None
    return task.run_at


def _in_scope(scope: Scope, owner: str) -> bool:
    return scope.owner is None or scope.owner == owner


def _overdue_since(task: Task) -> Seconds | None:
    return task.deadline_at if task.status is Status.QUEUED else task.lease_until


def _matches(wanted: Filter, task: Task) -> bool:
    return (
        wanted.job in (None, task.job)
        and wanted.queue in (None, task.queue)
        and (not wanted.statuses or task.status in wanted.statuses)
        and wanted.tags.items() <= task.tags.items()
        and (wanted.created_after is None or task.created_at > wanted.created_after)
        and (wanted.created_before is None or task.created_at < wanted.created_before)
        and (wanted.before_key is None or task.key < wanted.before_key)
    )


def _depth(queue: str, job: str, rows: Sequence[_Row]) -> Depth:
    ready = sorted((row.task.rank, row.task.key, row.task.run_at) for row in rows if row.ready)
    return Depth(
        queue=queue,
        job=job,
        queued=sum(row.task.status is Status.QUEUED for row in rows),
        ready=len(ready),
        running=sum(row.task.status is Status.RUNNING for row in rows),
        bytes=sum(row.task.input_bytes for row in rows),
        oldest_at=ready[0][2] if ready else None,
    )
