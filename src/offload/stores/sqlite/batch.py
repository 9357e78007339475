"""One transaction for everything that waits: load what the calls speak of, decide in memory, write all in few steps.

There is one writer, so what was loaded stays true until the commit, and a call that must be refused is refused before
anything of it is written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import apsw
import msgspec

from offload.core.callback import Delivery
from offload.core.errors import IdempotencyKeyReused, TaskAlreadyExists
from offload.core.task import Seconds, Status, Task, TaskEvent
from offload.core.transitions import Change, difference
from offload.ports import Added, NewTask, Note, Renewal
from offload.stores.sqlite import statements
from offload.stores.sqlite.counts import Count, Place
from offload.stores.sqlite.delivery_rows import add_deliveries
from offload.stores.sqlite.rows import INSERTED, OUTCOME, PAYLOAD, Row, id_stored, inserted, stored

HEAD = "key, id, queue, job, status, version, attempt, node, event_count, cancel_requested, input_bytes, ready"


@dataclass(slots=True)
class _Head:
    """What of a stored task decides whether a write may happen, kept up to date through the batch."""

    key: int
    id: bytes | str
    queue: str
    job: str
    status: str
    version: int
    attempt: int
    node: str | None
    event_count: int
    cancel_requested: int
    input_bytes: int
    ready: int


class _Known(msgspec.Struct, frozen=True):
    """A task that is already there under an id or an idempotency key."""

    key: int
    owner: str
    fingerprint: str


_Ids = dict[str, _Known]
_Used = dict[tuple[str, str], _Known]


@dataclass(slots=True)
class Batch:
    """The writes of one transaction; `flush` makes them, `moves` is what they do to the counts."""

    connection: apsw.Connection
    last_key: int
    later_at: Seconds | None
    """The earliest later `run_at` of a QUEUED task, or earlier."""
    moves: dict[Place, Count] = field(default_factory=dict)
    _heads: dict[int, _Head | None] = field(default_factory=dict)
    _ids: _Ids = field(default_factory=dict)
    _used: _Used = field(default_factory=dict)
    _tasks: list[Row] = field(default_factory=list)
    _payloads: list[Row] = field(default_factory=list)
    _events: list[Row] = field(default_factory=list)
    _idempotency: list[Row] = field(default_factory=list)
    _tags: list[Row] = field(default_factory=list)
    _updates: dict[int, dict[str, Any]] = field(default_factory=dict)
    _outcomes: dict[int, Row] = field(default_factory=dict)
    _files: list[Row] = field(default_factory=list)
    _dropped: list[int] = field(default_factory=list)
    deliveries: list[tuple[int, Delivery]] = field(default_factory=list)
    """With the keys of their tasks."""
    rings: bool = False
    """Deliveries were written."""

    def load(self, keys: Iterable[int]) -> None:
        """Read the heads of tasks before `apply`, `note` or `renew` of them."""
        missing = [key for key in dict.fromkeys(keys) if key not in self._heads]
        if missing:
            self._heads.update(dict.fromkeys(missing))
            rows = statements.run_for(self.connection, f"SELECT {HEAD} FROM tasks WHERE key IN (@keys)", missing)
            self._heads.update((row[0], _Head(*row)) for row in rows)

    def load_new(self, new: Iterable[NewTask]) -> None:
        """Read which ids and idempotency keys are known before `add` of them."""
        ids = {id_stored(one.task.id): one.task.id for one in new}
        sql = """
            SELECT t.id, t.key, t.owner, p.fingerprint FROM tasks t JOIN payloads p ON p.key = t.key
             WHERE t.id IN (@keys)
            """
        for stored_id, *known in statements.run_for(self.connection, sql, list(ids)):
            self._ids[ids[stored_id]] = _Known(*known)
        # the join: a key whose task was purged is a new key
        sql = """
            SELECT i.task, i.owner, i.fingerprint FROM idempotency i JOIN tasks t ON t.key = i.task
             WHERE i.owner = ? AND i.name = ?
            """
        for used in {(one.task.owner, one.idempotency_key) for one in new if one.idempotency_key is not None}:
            for known in statements.rows(self.connection, sql, *used):
                self._used[used] = _Known(*known)

    def add(self, new: Sequence[NewTask]) -> list[Added | int]:
        """Return for each what was added, or the key of the task that the same request made earlier; all or none."""
        ids: _Ids = {}
        used: _Used = {}
        made: list[tuple[int, NewTask | None]] = []
        key = self.last_key
        for one in new:
            earlier = self._earlier(one, ids, used)
            if earlier is not None:
                made.append((earlier, None))
                continue
            key += 1
            made.append((key, one))
            known = ids[one.task.id] = _Known(key, one.task.owner, one.fingerprint)
            if one.idempotency_key is not None:
                used[one.task.owner, one.idempotency_key] = known
        self.last_key = key
        self._ids.update(ids)
        self._used.update(used)
        return [key if fresh is None else self._insert(key, fresh) for key, fresh in made]

    def apply(self, change: Change) -> bool:
        before, after = change.before, change.after
        head = self._heads[before.key]
        if head is None or (head.version, head.attempt, head.id) != (
            before.version, before.attempt, id_stored(before.id)
        ):  # fmt: skip
            return False
        self._move(head, -1)
        head.status, head.version, head.attempt = after.status.value, after.version, after.attempt
        head.node, head.cancel_requested = after.node, after.cancel_requested
        ready = self._enters_line(after, change.events)
        updates = self._record(head, change.events)
        if ready != head.ready:
            head.ready = updates["ready"] = ready
        self._move(head, 1)
        for name, value in difference(change).items():
            if name in OUTCOME:
                self._outcomes[head.key] = (
                    head.key, after.result, stored(after.result_file), stored(after.error),
                )  # fmt: skip
            elif name not in PAYLOAD:  # which changes only by notes, and by being dropped
                updates[name] = stored(value)
        if "run_at" in updates:
            updates["rank"] = after.rank
        if after.payload_dropped and not before.payload_dropped:
            self._dropped.append(head.key)
        if change.deliveries:
            self.deliveries += [(head.key, delivery) for delivery in change.deliveries]
        return True

    def note(self, note: Note) -> bool:
        head = self._held(note.task)
        if head is None:
            return False
        updates = self._record(head, note.events)
        if note.progress is not None:
            updates["progress"] = stored(note.progress)
        if note.files is not None:
            self._files.append((stored(note.files), head.key))
        if note.grown_bytes:
            self._move(head, -1)
            head.input_bytes += note.grown_bytes
            updates["input_bytes"] = head.input_bytes
            self._move(head, 1)
        if note.deliveries:
            self.deliveries += [(head.key, delivery) for delivery in note.deliveries]
        return True

    def renew(self, task: Task, lease_until: Seconds) -> Renewal:
        head = self._held(task)
        if head is None:
            return Renewal(held=False)
        self._updates.setdefault(head.key, {})["lease_until"] = lease_until
        return Renewal(held=True, cancel_requested=head.cancel_requested == 1)

    def flush(self) -> None:
        """Write what was decided; the transaction sees it from here on."""
        c = self.connection
        statements.insert(c, f"INSERT INTO tasks ({INSERTED})", self._tasks)
        statements.insert(c, "INSERT INTO payloads", self._payloads)
        statements.insert(c, "INSERT INTO events", self._events)
        statements.insert(c, "INSERT OR REPLACE INTO idempotency", self._idempotency)
        statements.insert(c, "INSERT INTO tags", self._tags)
        statements.insert(c, "INSERT OR REPLACE INTO outcomes", list(self._outcomes.values()))
        for row in self._files:
            c.execute("UPDATE payloads SET files = ? WHERE key = ?", row)
        drop_payloads(c, self._dropped)
        by_columns: dict[tuple[str, ...], list[Row]] = {}
        for key, updates in self._updates.items():
            columns = tuple(sorted(updates))
            by_columns.setdefault(columns, []).append((key, *map(updates.__getitem__, columns)))
        by_columns.pop((), None)  # an empty note changes nothing
        for columns, rows in by_columns.items():
            statements.update(c, columns, rows)
        for written in (self._tasks, self._payloads, self._events, self._idempotency, self._tags, self._dropped):
            written.clear()
        self._files.clear()
        self._outcomes.clear()
        self._updates.clear()
        if self.deliveries:
            add_deliveries(c, self.deliveries)
            self.deliveries.clear()
            self.rings = True

    def place(self, queue: str, job: str) -> Count:
        """Return the move of a place, to be changed."""
        found = self.moves.get((queue, job))
        if found is None:
            found = self.moves[queue, job] = Count()
        return found

    def event(self, key: int, n: int, event: TaskEvent) -> None:
        self._events.append((key, n, event.kind, event.at, event.attempt, event.data))

    def _earlier(self, new: NewTask, ids: _Ids, used: _Used) -> int | None:
        if new.idempotency_key is not None:
            place = (new.task.owner, new.idempotency_key)
            known = used.get(place) or self._used.get(place)
            if known is not None and known.fingerprint != new.fingerprint:
                raise IdempotencyKeyReused(new.idempotency_key)
            if known is not None:
                return known.key
        known = ids.get(new.task.id) or self._ids.get(new.task.id)
        if known is None:
            return None
        if known.owner != new.task.owner or known.fingerprint != new.fingerprint:
            raise TaskAlreadyExists(new.task.id)
        return known.key

    def _insert(self, key: int, new: NewTask) -> Added:
        task = msgspec.structs.replace(new.task, key=key, event_count=len(new.events))
        ready = self._enters_line(task, new.events)
        self._tasks.append(inserted(task, ready))
        self._payloads.append((key, new.fingerprint, task.input, stored(task.files), task.traceparent or None))
        for n, event in enumerate(new.events, 1):
            self.event(key, n, event)
        if new.idempotency_key is not None:
            self._idempotency.append((task.owner, new.idempotency_key, new.fingerprint, key, task.created_at))
        if task.tags:
            self._tags += [(name, value, key) for name, value in task.tags.items()]
        self.place(task.queue, task.job).move(task.status, ready=ready, input_bytes=task.input_bytes, sign=1)
        return Added(task=task, fresh=True)

    def _enters_line(self, task: Task, events: Sequence[TaskEvent]) -> int:
        """Tell whether a task is QUEUED and due at the time of the decision, and remember when the others are."""
        if task.status is not Status.QUEUED:
            return 0
        decided_at = events[-1].at if events else task.queued_at
        assert task.run_at is not None
        if decided_at is None or task.run_at <= decided_at:
            return 1
        self.later_at = task.run_at if self.later_at is None else min(self.later_at, task.run_at)
        return 0

    def _record(self, head: _Head, events: Sequence[TaskEvent]) -> dict[str, Any]:
        """Number and keep the events; return the updates of the task's row, to be added to."""
        updates = self._updates.setdefault(head.key, {})
        for event in events:
            head.event_count += 1
            self.event(head.key, head.event_count, event)
        if events:
            updates["event_count"] = head.event_count
        return updates

    def _held(self, task: Task) -> _Head | None:
        head = self._heads[task.key]
        if head is None or head.status != Status.RUNNING:
            return None
        same = (head.attempt, head.node, head.id) == (task.attempt, task.node, id_stored(task.id))
        return head if same else None

    def _move(self, head: _Head, sign: int) -> None:
        self.place(head.queue, head.job).move(head.status, ready=head.ready, input_bytes=head.input_bytes, sign=sign)


def drop_payloads(connection: apsw.Connection, keys: Sequence[int]) -> None:
    """Forget all of a task but its row and its status events."""
    for sql in (
        """
        DELETE FROM tags WHERE (name, value, key) IN (
            SELECT j.key, j.value, t.key FROM tasks t, json_each(t.tags) j WHERE t.key IN (@keys))
        """,
        "DELETE FROM events WHERE key IN (@keys) AND kind <> 'status'",
        "DELETE FROM outcomes WHERE key IN (@keys)",
        "UPDATE payloads SET input = x'7b7d', files = NULL WHERE key IN (@keys)",  # the fingerprint stays
    ):
        statements.run_for(connection, sql, keys)
