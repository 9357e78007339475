"""Writes what a batch has decided, in an order that every transaction keeps, so that none waits for one that waits."""

from collections.abc import Sequence

from offload.core.task import Task
from offload.stores.postgres.batch import Batch, Crossed, enters_line, event_row
from offload.stores.postgres.delivery_rows import LOCK_HOSTS, add_deliveries
from offload.stores.postgres.rows import EVENTS, OUTCOMES, REQUESTS, TASKS, Row, request_row, tags_from, task_row
from offload.stores.postgres.statements import Connection, columns, insert, update_tasks

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
    made = await _insert_new(batch)
    await insert(connection, "events", EVENTS, batch.events)
    await insert(connection, "outcomes", OUTCOMES, list(batch.outcomes.values()), _NEW_OUTCOME)
    if batch.files:
        await connection.execute(SET_FILES, *columns(list({row[0]: row for row in batch.files}.values())))
    if batch.dropped:
        await drop_tags(connection, batch.dropped)
        for sql in DROP_PAYLOADS:
            await connection.execute(sql, batch.dropped)
    await _update(batch)
    await batch.moves.write(connection, slot)
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


async def _insert_new(batch: Batch) -> list[Task]:
    made = await batch.with_keys()
    if not made:
        return []
    connection = batch.connection
    asked: list[Row] = []
    for task, new in zip(made, batch.made, strict=True):
        asked.append(request_row(task, new.fingerprint))
        batch.events += [event_row(task.key, n, event) for n, event in enumerate(new.events, 1)]
    asked.sort(key=lambda row: str(row[1]))  # by id: two nodes that are given the same ids meet them in one order
    if await insert(connection, "requests", REQUESTS, asked, "ON CONFLICT (id) DO NOTHING") < len(asked):
        raise Crossed
    rows = []
    for task, new in zip(made, batch.made, strict=True):
        ready = enters_line(task, new.events)
        rows.append(task_row(task, ready))
        place = (task.queue, task.job)
        batch.moves.move(place, task.status.value, ready=ready, input_bytes=task.input_bytes, sign=1)
    await insert(connection, "tasks", TASKS, rows)
    await insert(connection, "tags", TAGS, [(*tag, task.key) for task in made for tag in task.tags.items()])
    await _use_keys(connection, batch, made)
    return made


async def _use_keys(connection: Connection, batch: Batch, made: Sequence[Task]) -> None:
    if batch.stale:
        await connection.execute(FORGET_KEYS, *columns(sorted(batch.stale)))
    used = sorted(
        (task.owner, new.idempotency_key, new.fingerprint, task.key, task.created_at)
        for task, new in zip(made, batch.made, strict=True)
        if new.idempotency_key is not None
    )
    if await insert(connection, "idempotency", IDEMPOTENCY, used, "ON CONFLICT (owner, name) DO NOTHING") < len(used):
        raise Crossed


async def _update(batch: Batch) -> None:
    """Write the updates, those of the same columns in one statement."""
    by_columns: dict[tuple[str, ...], list[Row]] = {}
    for key, updates in batch.updates.items():
        names = tuple(sorted(updates))
        by_columns.setdefault(names, []).append((key, *map(updates.__getitem__, names)))
    by_columns.pop((), None)  # an empty note changes nothing
    for names, rows in by_columns.items():
        await update_tasks(batch.connection, names, rows)
