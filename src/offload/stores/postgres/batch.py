"""One transaction for everything that waits: lock what the calls speak of, decide in memory, write all in few steps.

What was loaded is locked, in the order of the keys, so it stays true until the commit, and a call that must be refused
is refused before anything of it is written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from offload.core.callback import Delivery
from offload.core.errors import IdempotencyKeyReused, TaskAlreadyExists
from offload.core.task import Seconds, Status, Task, TaskEvent
from offload.core.transitions import Change, difference
from offload.ports import NewTask, Note, Renewal
from offload.stores.postgres.counts import Moves
from offload.stores.postgres.rows import ASKED, OUTCOME, Row, outcome_row, stored
from offload.stores.postgres.statements import Connection

# The id as well: after a crash, or on a standby that was behind, a key may be given out again.
HEADS = """
    SELECT key, (SELECT id FROM requests r WHERE r.key = tasks.key), queue, job, status, version, attempt, node,
           event_count, cancel_requested, input_bytes, ready
      FROM tasks WHERE key = ANY($1::bigint[]) ORDER BY key FOR NO KEY UPDATE
"""
KNOWN_IDS = "SELECT id, key, owner, fingerprint FROM requests WHERE id = ANY($1::text[])"
KNOWN_KEYS = """
    SELECT i.owner, i.name, i.task, i.fingerprint, r.key IS NOT NULL
      FROM unnest($1::text[], $2::text[]) v (owner, name)
      JOIN idempotency i ON i.owner = v.owner AND i.name = v.name LEFT JOIN requests r ON r.key = i.task
"""
NEW_KEYS = "SELECT nextval('task_keys') FROM generate_series(1, $1)"


class Crossed(Exception):
    """Another transaction made what this one was about to make: do it again, and see it."""


@dataclass(slots=True)
class _Head:
    """What of a stored task decides whether a write may happen, kept up to date through the batch."""

    key: int
    id: str
    queue: str
    job: str
    status: str
    version: int
    attempt: int
    node: str | None
    event_count: int
    cancel_requested: bool
    input_bytes: int
    ready: bool


class _Known(msgspec.Struct, frozen=True):
    """A task that is there, or made by this batch, under an id or an idempotency key."""

    task: int
    """Its key; negative for one of this batch, which is given its key later."""
    owner: str
    fingerprint: str


_Ids = dict[str, _Known]
_Used = dict[tuple[str, str], _Known]


@dataclass(slots=True)
class Batch:
    """What the calls of one transaction come to; `flush` in flush.py writes it."""

    connection: Connection
    moves: Moves = field(default_factory=Moves)
    heads: dict[int, _Head | None] = field(default_factory=dict)
    made: list[NewTask] = field(default_factory=list)
    """Tasks to insert; the known one at -1 is the first."""
    events: list[Row] = field(default_factory=list)
    updates: dict[int, dict[str, Any]] = field(default_factory=dict)
    outcomes: dict[int, Row] = field(default_factory=dict)
    files: list[Row] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    stale: list[tuple[str, str]] = field(default_factory=list)
    """Idempotency keys whose tasks were purged: they are new keys."""
    deliveries: list[tuple[int, Delivery]] = field(default_factory=list)
    """With the keys of their tasks."""
    hosts: Sequence[str] = ()
    """Hosts whose rows this transaction will want besides those of the deliveries."""
    _ids: _Ids = field(default_factory=dict)
    _used: _Used = field(default_factory=dict)

    async def load(self, keys: Iterable[int]) -> None:
        """Lock and read the heads of tasks before `apply`, `note` or `renew` of them."""
        wanted = sorted(set(keys))
        if wanted:
            self.heads = dict.fromkeys(wanted)
            self.heads.update((row[0], _Head(*row)) for row in await self.connection.fetch(HEADS, wanted))

    async def load_new(self, new: Sequence[NewTask]) -> None:
        """Read which ids and idempotency keys are known before `add` of them."""
        if not new:
            return
        for task_id, *known in await self.connection.fetch(KNOWN_IDS, [one.task.id for one in new]):
            self._ids[task_id] = _Known(*known)
        used = sorted({(one.task.owner, one.idempotency_key) for one in new if one.idempotency_key is not None})
        if used:
            owners, names = [owner for owner, _ in used], [name for _, name in used]
            for owner, name, task, fingerprint, alive in await self.connection.fetch(KNOWN_KEYS, owners, names):
                if alive:
                    self._used[owner, name] = _Known(task, owner, fingerprint)
                else:
                    self.stale.append((owner, name))

    def add(self, new: Sequence[NewTask]) -> list[int]:
        """Return for each the key of the task that the same request made earlier, or its negative place in `made`.

        All or none: what raises has added nothing to the batch.
        """
        ids: _Ids = {}
        used: _Used = {}
        answers: list[int] = []
        fresh: list[NewTask] = []
        for one in new:
            earlier = self._earlier(one, ids, used)
            if earlier is None:
                fresh.append(one)
                earlier = -len(self.made) - len(fresh)
                known = ids[one.task.id] = _Known(earlier, one.task.owner, one.fingerprint)
                if one.idempotency_key is not None:
                    used[one.task.owner, one.idempotency_key] = known
            answers.append(earlier)
        self.made += fresh
        self._ids.update(ids)
        self._used.update(used)
        return answers

    def apply(self, change: Change) -> bool:
        before, after = change.before, change.after
        head = self.heads[before.key]
        if head is None or (head.id, head.version, head.attempt) != (before.id, before.version, before.attempt):
            return False
        self._move(head, -1)
        head.status, head.version, head.attempt = after.status.value, after.version, after.attempt
        head.node, head.cancel_requested = after.node, after.cancel_requested
        ready = enters_line(after, change.events)
        updates = self._record(head, change.events)
        if ready != head.ready:
            head.ready = updates["ready"] = ready
        self._move(head, 1)
        for name, value in difference(change).items():
            if name in OUTCOME:
                self.outcomes[head.key] = outcome_row(head.key, after)
            elif name not in ASKED:
                updates[name] = (value or None) if name == "upload_to" else stored(value)
        if "run_at" in updates:
            updates["rank"] = after.rank
        if after.payload_dropped and not before.payload_dropped:
            self.dropped.append(head.key)
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
            self.files.append((head.key, stored(note.files)))
        if note.grown_bytes:
            self._move(head, -1)
            head.input_bytes += note.grown_bytes
            updates["input_bytes"] = head.input_bytes
            self._move(head, 1)
        self.deliveries += [(head.key, delivery) for delivery in note.deliveries]
        return True

    def renew(self, task: Task, lease_until: Seconds) -> Renewal:
        head = self._held(task)
        if head is None:
            return Renewal(held=False)
        self.updates.setdefault(head.key, {})["lease_until"] = lease_until
        return Renewal(held=True, cancel_requested=head.cancel_requested)

    async def with_keys(self) -> list[Task]:
        """Give the new tasks their keys; return them as they are written, in their order."""
        if not self.made:
            return []
        keys = [key for (key,) in await self.connection.fetch(NEW_KEYS, len(self.made))]
        return [
            msgspec.structs.replace(one.task, key=key, event_count=len(one.events))
            for key, one in zip(keys, self.made, strict=True)
        ]

    def _earlier(self, new: NewTask, ids: _Ids, used: _Used) -> int | None:
        if new.idempotency_key is not None:
            place = (new.task.owner, new.idempotency_key)
            known = used.get(place) or self._used.get(place)
            if known is not None and known.fingerprint != new.fingerprint:
                raise IdempotencyKeyReused(new.idempotency_key)
            if known is not None:
                return known.task
        known = ids.get(new.task.id) or self._ids.get(new.task.id)
        if known is None:
            return None
        if known.owner != new.task.owner or known.fingerprint != new.fingerprint:
            raise TaskAlreadyExists(new.task.id)
        return known.task

    def _record(self, head: _Head, events: Sequence[TaskEvent]) -> dict[str, Any]:
        """Number and keep the events; return the updates of the task's row, to be added to."""
        updates = self.updates.setdefault(head.key, {})
        for event in events:
            head.event_count += 1
            self.events.append(event_row(head.key, head.event_count, event))
        if events:
            updates["event_count"] = head.event_count
        return updates

    def _held(self, task: Task) -> _Head | None:
        head = self.heads[task.key]
        if head is None or head.status != Status.RUNNING:
            return None
        return head if (head.id, head.attempt, head.node) == (task.id, task.attempt, task.node) else None

    def _move(self, head: _Head, sign: int) -> None:
        place = (head.queue, head.job)
        self.moves.move(place, head.status, ready=head.ready, input_bytes=head.input_bytes, sign=sign)


def enters_line(task: Task, events: Sequence[TaskEvent]) -> bool:
    """Tell whether a task is QUEUED and due at the time of the decision."""
    if task.status is not Status.QUEUED:
        return False
    decided_at = events[-1].at if events else task.queued_at
    assert task.run_at is not None
    return decided_at is None or task.run_at <= decided_at


def event_row(key: int, n: int, event: TaskEvent) -> Row:
    return (key, n, event.kind, event.at, event.attempt, event.data)
