"""Writes what a batch has decided, in an order that every transaction keeps, so that none waits for one that waits."""

from collections.abc import Sequence

from offload.core.task import Task
from offload.stores.postgres.batch import Batch, Crossed, enters_line, event_row
from offload.stores.postgres.delivery_rows import LOCK_HOSTS, add_deliveries
from offload.stores.postgres.rows import EVENTS, OUTCOMES, REQUESTS, TASKS, Row, request_row, tags_from, task_row
from offload.stores.postgres.statements import Connection, Together, columns

IDEMPOTENCY = {"owner": "text", "name": "text", "fingerprint": "text", "task": "bigint", "created_at": "float8"}
TAGS = {"name": "text", "value": "text", "key": "bigint"}
_NEW_OUTCOME = (
    "ON CONFLICT (key) DO UPDATE "
    "SET result = excluded.result, result_file = excluded.result_file, file_bytes = excluded.file_bytes, "
    "error = excluded.error"
)
FORGET_KEYS = """
    DELETE FROM idempotency i USING unnest($1::text[], $2::text[]) v (owner, name)
     WHERE i.owner = v.owner AND i.name = v.name AND NOT EXISTS (SELECT 1 FROM requests r WHERE r.key = i.task)
"""
SET_FILES = """
    UPDATE requests r SET files = v.files FROM unnest($1::bigint[], $2::text[]) v (key, files) WHERE r.key = v.key
"""
TAGS_OF = "SELECT key, tags FROM requests WHERE key = ANY($1::bigint[]) AND tags IS NOT NULL"
DROP_TAGS = """
    DELETE FROM tags g USING unnest($1::text[], $2::text[], $3::bigint[]) v (name, value, key)
     WHERE g.name = v.name AND g.value = v.value AND g.key = v.key
"""
DROP_PAYLOADS = (
    "DELETE FROM events WHERE key = ANY($1::bigint[]) AND kind <> 'status'",
    "DELETE FROM outcomes WHERE key = ANY($1::bigint[])",
    # the fingerprint stays
    "UPDATE requests SET input = '{}', files = NULL, tags = NULL WHERE key = ANY($1::bigint[])",
)


async def flush(batch: Batch, slot: int) -> list[Task]:
    """Write what was decided; return the new tasks, in the order in which they were made. Raise Crossed."""
    connection = batch.connection
    made = await batch.with_keys()
    if batch.stale:
        await connection.execute(FORGET_KEYS, *columns(sorted(batch.stale)))
    if batch.files:
        await connection.execute(SET_FILES, *columns(list({row[0]: row for row in batch.files}.values())))
    together = Together()
    asked, used = _put_new(together, batch, made)
    together.insert("events", EVENTS, batch.events)
    together.insert("outcomes", OUTCOMES, list(batch.outcomes.values()), _NEW_OUTCOME)
    _put_updates(together, batch)
    batch.moves.put(together, slot)
    written = await together.run(connection)
    if written[: (asked > 0) + (used > 0)] != [count for count in (asked, used) if count]:
        raise Crossed
    if batch.dropped:
        await drop_tags(connection, batch.dropped)
        for sql in DROP_PAYLOADS:
            await connection.execute(sql, batch.dropped)
    if batch.hosts:
        hosts = {*batch.hosts, *(delivery.host for _, delivery in batch.deliveries)}
        await connection.execute(LOCK_HOSTS, sorted(hosts))
    await add_deliveries(connection, batch.deliveries)
    return made


async def drop_tags(connection: Connection, keys: Sequence[int]) -> None:
    """Forget by what tags tasks are found."""
    rows = [(*tag, key) for key, text in await connection.fetch(TAGS_OF, keys) for tag in tags_from(text).items()]
    if rows:
        await connection.execute(DROP_TAGS, *columns(rows))


def _put_new(together: Together, batch: Batch, made: Sequence[Task]) -> tuple[int, int]:
    """Have new tasks written; return how many rows the first one or two writes must come to."""
    rows: list[Row] = []
    used: list[tuple[str, str, str, int, float]] = []
    for task, new in zip(made, batch.made, strict=True):
        batch.events += [event_row(task.key, n, event) for n, event in enumerate(new.events, 1)]
        ready = enters_line(task, new.events)
        rows.append(task_row(task, ready))
        place = (task.queue, task.job)
        batch.moves.move(place, task.status.value, ready=ready, input_bytes=task.input_bytes, sign=1)
        if new.idempotency_key is not None:
            used.append((task.owner, new.idempotency_key, new.fingerprint, task.key, task.created_at))
    # in one order: two nodes that are given the same ids and keys do not wait for each other in a circle
    asked = [request_row(task, new.fingerprint) for task, new in zip(made, batch.made, strict=True)]
    asked.sort(key=lambda row: str(row[1]))
    together.insert("requests", REQUESTS, asked, "ON CONFLICT (id) DO NOTHING")
    together.insert("idempotency", IDEMPOTENCY, sorted(used), "ON CONFLICT (owner, name) DO NOTHING")
    together.insert("tasks", TASKS, rows)
    together.insert("tags", TAGS, [(*tag, task.key) for task in made for tag in task.tags.items()])
    return len(asked), len(used)


def _put_updates(together: Together, batch: Batch) -> None:
    """Have the updates written, those of the same columns in one."""
    by_columns: dict[tuple[str, ...], list[Row]] = {}
    for key, updates in batch.updates.items():
        names = tuple(sorted(updates))
        by_columns.setdefault(names, []).append((key, *map(updates.__getitem__, names)))
    by_columns.pop((), None)  # an empty note changes nothing
    for names, rows in by_columns.items():
        together.update_tasks(names, rows)
