"""What can be asked without writing."""

from typing import Any

from offload.core.task import Scope, Seconds, Status, Task, TaskEvent
from offload.ports import Filter
from offload.stores.postgres.claims import ENTERING_MAX
from offload.stores.postgres.rows import TASK, WHOLE, event_from, task_from
from offload.stores.postgres.statements import Connection

GET = f"SELECT {TASK} FROM {WHOLE} WHERE r.id = $1"
BY_KEY = f"SELECT {TASK} FROM {WHOLE} WHERE r.key = ANY($1::bigint[])"
# indexes: tasks_running, which holds few; tasks_deadline
OVERDUE = f"""
    SELECT {TASK} FROM (
        (SELECT lease_until since, key FROM tasks
          WHERE status = 'RUNNING' AND lease_until <= $1 ORDER BY lease_until, key LIMIT $2)
        UNION ALL
        (SELECT deadline_at since, key FROM tasks
          WHERE status = 'QUEUED' AND deadline_at IS NOT NULL AND deadline_at <= $1 ORDER BY deadline_at, key LIMIT $2)
    ) late JOIN requests r ON r.key = late.key JOIN tasks t ON t.key = r.key LEFT JOIN outcomes o ON o.key = r.key
    ORDER BY late.since, late.key LIMIT $2
"""
NEXT_DUE = """
    SELECT least(
        (SELECT $1::float8 FROM tasks WHERE status = 'QUEUED' AND NOT ready AND run_at <= $1
          ORDER BY run_at LIMIT 1 OFFSET $2),  -- more than enter the line in one claim
        (SELECT min(run_at) FROM tasks WHERE status = 'QUEUED' AND NOT ready AND run_at > $1),
        (SELECT min(deadline_at) FROM tasks
          WHERE status = 'QUEUED' AND deadline_at IS NOT NULL AND deadline_at > $1))
"""
# index: tasks_line, once for each job of the queue that has any in line
AHEAD = """
    SELECT count(*) FROM (
        SELECT 1 FROM (SELECT job FROM counts WHERE queue = $1 GROUP BY job HAVING sum(ready) > 0) c
         CROSS JOIN LATERAL (
            SELECT 1 FROM tasks t
             WHERE t.queue = $1 AND t.job = c.job AND t.status = 'QUEUED' AND t.ready AND (t.rank, t.key) < ($2, $3)
             LIMIT $4) l
         LIMIT $4) ahead
"""
EVENTS = """
    SELECT e.n, e.kind, e.at, e.attempt, e.data
      FROM requests r JOIN events e ON e.key = r.key AND e.n > $2
     WHERE r.id = $1 AND ($3::text IS NULL OR r.owner = $3) ORDER BY e.key, e.n LIMIT $4
"""


async def get(connection: Connection, scope: Scope, task_id: str) -> Task | None:
    row = await connection.fetchrow(GET, task_id)
    if row is None:
        return None
    task = task_from(row)
    return task if scope.owner is None or scope.owner == task.owner else None


async def get_by_keys(connection: Connection, keys: list[int]) -> dict[int, Task]:
    return {row[0]: task_from(row) for row in await connection.fetch(BY_KEY, keys)}


async def overdue(connection: Connection, now: Seconds, limit: int) -> list[Task]:
    return [task_from(row) for row in await connection.fetch(OVERDUE, now, limit)]


async def next_due(connection: Connection, now: Seconds) -> Seconds | None:
    found: Seconds | None = await connection.fetchval(NEXT_DUE, now, ENTERING_MAX)
    return found


async def position(connection: Connection, task: Task, most: int) -> int | None:
    ahead: int = await connection.fetchval(AHEAD, task.queue, task.rank, task.key, most + 1)
    return None if ahead > most else ahead


async def events(connection: Connection, scope: Scope, task_id: str, after: int, limit: int) -> list[TaskEvent]:
    return [event_from(row) for row in await connection.fetch(EVENTS, task_id, after, scope.owner, limit)]


async def find(connection: Connection, scope: Scope, wanted: Filter) -> list[Task]:
    sql, bound = found_keys(scope, wanted)
    whole = f"SELECT {TASK} FROM {WHOLE} WHERE r.key IN ({sql}) ORDER BY r.key DESC LIMIT $1"
    return [task_from(row) for row in await connection.fetch(whole, *bound)]


def found_keys(scope: Scope, wanted: Filter) -> tuple[str, list[Any]]:
    """Return the SELECT of the keys that `find` wants, newest first: one keyset scan for each status."""
    bound: list[Any] = [wanted.limit]

    def given(value: Any) -> str:
        bound.append(value)
        return f"${len(bound)}"

    conditions: list[str] = []
    if scope.owner is not None:
        conditions.append(f"q.owner = {given(scope.owner)}" + (" AND q.owner <> ''" if scope.owner else ""))
    for column, sign, value in (
        ("q.job", "=", wanted.job),
        ("q.queue", "=", wanted.queue),
        ("q.created_at", ">", wanted.created_after),
        ("q.created_at", "<", wanted.created_before),
        ("q.key", "<", wanted.before_key),
    ):
        if value is not None:
            conditions.append(f"{column} {sign} {given(value)}")
    for name, text in wanted.tags.items():
        same = f"g.name = {given(name)} AND g.value = {given(text)} AND g.key = q.key"
        conditions.append(f"EXISTS (SELECT 1 FROM tags g WHERE {same})")
    statuses: tuple[Status | None, ...] = tuple(dict.fromkeys(wanted.statuses)) or (None,)
    scans = []
    for status in statuses:
        here = list(conditions)
        start = "requests q"
        if status is not None:
            start = "tasks f JOIN requests q ON q.key = f.key"
            here.append(f"f.status = {given(status.value)}")
        where = f"WHERE {' AND '.join(here)}" if here else ""
        order = "q.key" if status is None else "f.key"
        scans.append(f"(SELECT q.key FROM {start} {where} ORDER BY {order} DESC LIMIT $1)")
    return " UNION ALL ".join(scans), bound
