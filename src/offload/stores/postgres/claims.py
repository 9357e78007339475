"""Taking tasks in line order, past those that another node is just taking."""

from collections.abc import Sequence

import msgspec

from offload.core.callback import Delivery
from offload.core.task import Task
from offload.core.transitions import Event, Facts, decide
from offload.ports import Ask
from offload.stores.postgres.batch import event_row
from offload.stores.postgres.counts import Moves
from offload.stores.postgres.delivery_rows import add_deliveries
from offload.stores.postgres.rows import EVENTS, TASK, WHOLE, Row, task_from
from offload.stores.postgres.statements import Connection, Together

ENTERING_MAX = 1_000
"""Delayed tasks that enter the line in one claim: when a million come due at once, a claim stays short."""

# index: tasks_line. Inside one job's line no lock is held on more than what is taken.
LINE = """
    SELECT key FROM tasks
     WHERE queue = $1 AND job = $2 AND status = 'QUEUED' AND ready AND (deadline_at IS NULL OR deadline_at > $3)
     ORDER BY queue, job, rank, key LIMIT $4
       FOR NO KEY UPDATE SKIP LOCKED
"""
# index: tasks_line_owned
LINE_OF_OWNER = """
    SELECT key FROM tasks
     WHERE owner = $5 AND owner <> '' AND queue = $1 AND job = $2 AND status = 'QUEUED' AND ready
       AND (deadline_at IS NULL OR deadline_at > $3)
     ORDER BY owner, queue, job, rank, key LIMIT $4
       FOR NO KEY UPDATE SKIP LOCKED
"""
LINE_OF_NOBODY = LINE.replace("AND ready AND", "AND ready AND owner = $5 AND")
# Of several jobs: first see how many of each are among the first in line, then take so many of each.
HEADS = """
    SELECT h.job, count(*) FROM (
        SELECT j.job FROM unnest($2::text[]) j (job) CROSS JOIN LATERAL (
            SELECT rank, key FROM tasks t
             WHERE t.queue = $1 AND t.job = j.job AND t.status = 'QUEUED' AND t.ready
               AND (t.deadline_at IS NULL OR t.deadline_at > $3)
             ORDER BY t.queue, t.job, t.rank, t.key LIMIT $4) l
         ORDER BY l.rank, l.key LIMIT $4) h
     GROUP BY h.job
"""
HEADS_OF_OWNER = HEADS.replace("t.ready", "t.ready AND t.owner = $5 AND t.owner <> ''").replace(
    "ORDER BY t.queue", "ORDER BY t.owner, t.queue"
)
HEADS_OF_NOBODY = HEADS.replace("t.ready", "t.ready AND t.owner = $5")
WAITING = f"SELECT {TASK} FROM {WHOLE} WHERE r.key = ANY($1::bigint[])"
TAKE = """
    UPDATE tasks
       SET status = 'RUNNING', ready = false, attempt = attempt + 1, version = version + 1,
           event_count = event_count + 1, started_at = greatest($2, run_at), lease_until = $3, node = $4,
           progress = NULL
     WHERE key = ANY($1::bigint[])
"""
# index: tasks_later
ENTER = """
    UPDATE tasks SET ready = true WHERE key = ANY(ARRAY(
        SELECT key FROM tasks WHERE status = 'QUEUED' AND NOT ready AND run_at <= $1
         ORDER BY run_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED))
    RETURNING queue, job
"""


async def claim(connection: Connection, slot: int, asks: Sequence[Ask], facts: Facts) -> list[Task]:
    """Take what the asks wish for, in one transaction."""
    moves = Moves()
    for queue, job in await connection.fetch(ENTER, facts.now, ENTERING_MAX):
        moves.enter_line((queue, job))
    events: list[Row] = []
    deliveries: list[tuple[int, Delivery]] = []
    taken: list[Task] = []
    for ask in asks:
        for task in await _take(connection, ask, facts):
            change = decide(task, Event.CLAIM, facts)
            (event,) = change.events
            events.append(event_row(task.key, task.event_count + 1, event))
            deliveries += [(task.key, delivery) for delivery in change.deliveries]
            place = (task.queue, task.job)
            moves.move(place, "QUEUED", ready=True, input_bytes=task.input_bytes, sign=-1)
            moves.move(place, "RUNNING", ready=False, input_bytes=task.input_bytes, sign=1)
            taken.append(msgspec.structs.replace(change.after, event_count=task.event_count + 1))
    together = Together()
    together.insert("events", EVENTS, events)
    moves.put(together, slot)
    await together.run(connection)
    await add_deliveries(connection, deliveries)
    return taken


async def _take(connection: Connection, ask: Ask, facts: Facts) -> list[Task]:
    """Return the tasks as they were before they were taken, first in line first."""
    heads, line, owner = HEADS, LINE, [] if ask.owner is None else [ask.owner]
    if owner:
        heads, line = (HEADS_OF_OWNER, LINE_OF_OWNER) if ask.owner else (HEADS_OF_NOBODY, LINE_OF_NOBODY)
    wanted = [(ask.jobs[0], ask.limit)]
    if len(ask.jobs) > 1:
        rows = await connection.fetch(heads, ask.queue, list(ask.jobs), facts.now, ask.limit, *owner)
        wanted = [(job, count) for job, count in rows]
    keys: list[int] = []
    for job, count in wanted:
        keys += [key for (key,) in await connection.fetch(line, ask.queue, job, facts.now, count, *owner)]
    if not keys:
        return []
    waiting = [task_from(row) for row in await connection.fetch(WAITING, keys)]
    await connection.execute(TAKE, keys, facts.now, facts.lease_until, facts.node)
    return sorted(waiting, key=lambda task: (task.rank, task.key))
