"""Taking tasks in line order."""

from collections.abc import Sequence
from heapq import merge
from itertools import islice

import msgspec

from offload.core.task import Seconds, Task
from offload.core.transitions import Event, Facts, decide
from offload.ports import Ask
from offload.stores.sqlite import statements
from offload.stores.sqlite.batch import Batch
from offload.stores.sqlite.counts import Counts
from offload.stores.sqlite.rows import TASK, WHOLE, task_from

ENTERING_MAX = 1_000
"""Delayed tasks that enter the line in one claim: when a million come due at once, a claim stays short."""

LINE = """
    SELECT rank, key FROM tasks INDEXED BY tasks_line
     WHERE queue = ? AND job = ? AND status = 'QUEUED' AND ready = 1 AND (deadline_at IS NULL OR deadline_at > ?)
     ORDER BY rank, key LIMIT ?
"""
LINE_OF_OWNER = """
    SELECT rank, key FROM tasks INDEXED BY tasks_line_owned
     WHERE owner = ? AND owner <> '' AND queue = ? AND job = ? AND status = 'QUEUED' AND ready = 1
       AND (deadline_at IS NULL OR deadline_at > ?)
     ORDER BY rank, key LIMIT ?
"""
LINE_OF_NOBODY = """
    SELECT rank, key FROM tasks INDEXED BY tasks_line
     WHERE queue = ? AND job = ? AND status = 'QUEUED' AND ready = 1 AND (deadline_at IS NULL OR deadline_at > ?)
       AND owner = ''
     ORDER BY rank, key LIMIT ?
"""
TAKEN = """
    UPDATE tasks
       SET status = 'RUNNING', ready = 0, attempt = attempt + 1, version = version + 1, event_count = event_count + 1,
           started_at = max(?, run_at), lease_until = ?, node = ?, progress = NULL
     WHERE key IN (@keys)
"""
ENTER = """
    UPDATE tasks SET ready = 1 WHERE key IN (
        SELECT key FROM tasks INDEXED BY tasks_later
         WHERE status = 'QUEUED' AND ready = 0 AND run_at <= ? ORDER BY run_at LIMIT ?)
    RETURNING queue, job
"""
LATER = "SELECT min(run_at) FROM tasks INDEXED BY tasks_later WHERE status = 'QUEUED' AND ready = 0"


def claim(batch: Batch, counts: Counts, asks: Sequence[Ask], facts: Facts) -> list[Task]:
    """Take what the asks wish for; everything decided before has been flushed."""
    _let_enter(batch, facts.now)
    return [task for ask in asks for task in _take(batch, counts, ask, facts)]


def _let_enter(batch: Batch, now: Seconds) -> None:
    """Put delayed tasks whose time has come into the line."""
    if batch.later_at is None or batch.later_at > now:
        return
    for queue, job in statements.rows(batch.connection, ENTER, now, ENTERING_MAX):
        batch.place(queue, job).ready += 1
    batch.later_at = statements.value(batch.connection, LATER)


def _take(batch: Batch, counts: Counts, ask: Ask, facts: Facts) -> list[Task]:
    keys = _first_in_line(batch, counts, ask, facts.now)
    if not keys:
        return []
    rows = statements.run_for(batch.connection, f"SELECT {TASK} FROM {WHOLE} WHERE t.key IN (@keys)", keys)
    found = {row[0]: task_from(row) for row in rows}
    taken: list[Task] = []
    for key in keys:
        task = found[key]
        change = decide(task, Event.CLAIM, facts)
        (event,) = change.events
        batch.event(key, task.event_count + 1, event)
        if change.deliveries:
            batch.deliveries += [(key, delivery) for delivery in change.deliveries]
        move = batch.place(task.queue, task.job)
        move.move("QUEUED", ready=1, input_bytes=task.input_bytes, sign=-1)
        move.move("RUNNING", ready=0, input_bytes=task.input_bytes, sign=1)
        taken.append(msgspec.structs.replace(change.after, event_count=task.event_count + 1))
    statements.run_for(batch.connection, TAKEN, keys, facts.now, facts.lease_until, facts.node)
    return taken


def _first_in_line(batch: Batch, counts: Counts, ask: Ask, now: Seconds) -> list[int]:
    lines = []
    for job in ask.jobs:
        place = (ask.queue, job)
        move = batch.moves.get(place)
        if counts.ready(place) + (0 if move is None else move.ready) > 0:
            if ask.owner:
                line = statements.rows(batch.connection, LINE_OF_OWNER, ask.owner, *place, now, ask.limit)
            else:
                sql = LINE if ask.owner is None else LINE_OF_NOBODY
                line = statements.rows(batch.connection, sql, *place, now, ask.limit)
            lines.append(line)
    return [key for _, key in islice(merge(*lines), ask.limit)]
