"""What can be asked of a connection that only reads."""

from typing import Any

import apsw

from offload.core.task import Scope, Seconds, Status, Task, TaskEvent
from offload.ports import Filter
from offload.stores.sqlite.claims import ENTERING_MAX
from offload.stores.sqlite.rows import TASK, WHOLE, event_from, id_stored, task_from
from offload.stores.sqlite.statements import rows, value

GET = f"SELECT {TASK} FROM {WHOLE} WHERE t.id = ?"
GET_BY_KEY = f"SELECT {TASK} FROM {WHOLE} WHERE t.key = ?"
LEASES_ENDED = """
    SELECT lease_until, key FROM tasks INDEXED BY tasks_leased
     WHERE status = 'RUNNING' AND lease_until <= ? ORDER BY lease_until, key LIMIT ?
"""
DEADLINES_PASSED = """
    SELECT deadline_at, key FROM tasks INDEXED BY tasks_deadline
     WHERE status = 'QUEUED' AND deadline_at IS NOT NULL AND deadline_at <= ? ORDER BY deadline_at, key LIMIT ?
"""
NEXT_LATER = """
    SELECT min(run_at) FROM tasks INDEXED BY tasks_later WHERE status = 'QUEUED' AND ready = 0 AND run_at > ?
"""
MANY_DUE = """
    SELECT run_at FROM tasks INDEXED BY tasks_later
     WHERE status = 'QUEUED' AND ready = 0 AND run_at <= ? ORDER BY run_at LIMIT 1 OFFSET ?
"""
NEXT_DEADLINE = """
    SELECT min(deadline_at) FROM tasks INDEXED BY tasks_deadline
     WHERE status = 'QUEUED' AND deadline_at IS NOT NULL AND deadline_at > ?
"""
AHEAD = """
    SELECT count(*) FROM (
        SELECT 1 FROM tasks INDEXED BY tasks_line
         WHERE queue = ? AND job = ? AND status = 'QUEUED' AND ready = 1 AND (rank, key) < (?, ?) LIMIT ?)
"""
HEAD_OF_LINE = """
    SELECT run_at FROM tasks INDEXED BY tasks_line
     WHERE queue = ? AND job = ? AND status = 'QUEUED' AND ready = 1 ORDER BY rank, key LIMIT 1
"""
EVENTS = "SELECT n, kind, at, attempt, data FROM events WHERE key = ? AND n > ? ORDER BY n LIMIT ?"


def get(connection: apsw.Connection, scope: Scope, task_id: str) -> Task | None:
    for row in rows(connection, GET, id_stored(task_id)):
        task = task_from(row)
        return task if scope.owner is None or scope.owner == task.owner else None
    return None


def get_by_key(connection: apsw.Connection, key: int) -> Task:
    (row,) = rows(connection, GET_BY_KEY, key)
    return task_from(row)


def events(connection: apsw.Connection, scope: Scope, task_id: str, after: int, limit: int) -> list[TaskEvent]:
    for key, owner in rows(connection, "SELECT key, owner FROM tasks WHERE id = ?", id_stored(task_id)):
        if scope.owner is None or scope.owner == owner:
            return [event_from(row) for row in rows(connection, EVENTS, key, after, limit)]
    return []


def overdue(connection: apsw.Connection, now: Seconds, limit: int) -> list[Task]:
    late = sorted(row for sql in (LEASES_ENDED, DEADLINES_PASSED) for row in rows(connection, sql, now, limit))
    # a task may be gone by now; one that has changed is told apart when the change decided from it is applied
    return [task_from(row) for _, key in late[:limit] for row in rows(connection, GET_BY_KEY, key)]


def next_due(connection: apsw.Connection, now: Seconds) -> Seconds | None:
    if rows(connection, MANY_DUE, now, ENTERING_MAX):
        return now
    times = [value(connection, sql, now) for sql in (NEXT_LATER, NEXT_DEADLINE)]
    return min((time for time in times if time is not None), default=None)


def position(connection: apsw.Connection, task: Task, jobs: list[str], most: int) -> int | None:
    ahead = 0
    for job in jobs:
        bound = (task.queue, job, task.rank, task.key, most + 1 - ahead)
        ahead += value(connection, AHEAD, *bound)
        if ahead > most:
            return None
    return ahead


def find(connection: apsw.Connection, scope: Scope, wanted: Filter) -> list[Task]:
    sql, bound = found_keys(scope, wanted)
    whole = f"SELECT {TASK} FROM {WHOLE} WHERE t.key IN ({sql}) ORDER BY t.key DESC LIMIT :limit"
    return [task_from(row) for row in connection.execute(whole, bound).fetchall()]


def found_keys(scope: Scope, wanted: Filter) -> tuple[str, dict[str, Any]]:
    """Return the SELECT of the keys that `find` wants: a keyset scan for each status."""
    conditions, bound = _conditions(scope, wanted)
    statuses: tuple[Status | None, ...] = tuple(dict.fromkeys(wanted.statuses)) or (None,)
    scans = []
    for i, status in enumerate(statuses):
        here = list(conditions)
        if status is not None:
            here.append(f"f.status = :status_{i}")
            bound[f"status_{i}"] = status.value
        start = f"tasks f INDEXED BY {index}" if (index := _index(scope, wanted, status)) else "tasks f NOT INDEXED"
        if wanted.tags:  # the tags index leads, newest first; rows are looked up by key
            start, order = "tags g CROSS JOIN tasks f ON f.key = g.key", "g.key"
            here.append("g.name = :tag_name_0 AND g.value = :tag_value_0")
        else:
            order = "f.key"
        where = f"WHERE {' AND '.join(here)}" if here else ""
        scans.append(f"SELECT * FROM (SELECT f.key FROM {start} {where} ORDER BY {order} DESC LIMIT :limit)")
    return " UNION ALL ".join(scans), bound


def _conditions(scope: Scope, wanted: Filter) -> tuple[list[str], dict[str, Any]]:
    possible = {
        "f.owner = :owner": scope.owner,
        "f.owner <> ''": scope.owner or None,  # the condition of the index tasks_by_owner
        "f.job = :job": wanted.job,
        "f.queue = :queue": wanted.queue,
        "f.created_at > :created_after": wanted.created_after,
        "f.created_at < :created_before": wanted.created_before,
        "f.key < :before_key": wanted.before_key,
    }
    conditions = [condition for condition, value in possible.items() if value is not None]
    bound: dict[str, Any] = {c.partition(":")[2]: v for c, v in possible.items() if v is not None and ":" in c}
    bound["limit"] = wanted.limit
    for i, (name, text) in enumerate(wanted.tags.items()):
        bound |= {f"tag_name_{i}": name, f"tag_value_{i}": text}
        if i > 0:
            same = f"h.name = :tag_name_{i} AND h.value = :tag_value_{i} AND h.key = f.key"
            conditions.append(f"EXISTS (SELECT 1 FROM tags h WHERE {same})")
    return conditions, bound


def _index(scope: Scope, wanted: Filter, status: Status | None) -> str | None:
    """Choose the index that leaves least to be skipped: few tasks wait, run or failed; nearly all are DONE."""
    if scope.owner:  # however many tasks others have, they cost this owner nothing
        return "tasks_by_owner"
    if status not in (None, Status.DONE):
        return "tasks_by_status"
    if wanted.job is not None:
        return "tasks_by_job"
    if wanted.queue is not None:
        return "tasks_by_queue"
    return "tasks_by_status" if status is not None else None
