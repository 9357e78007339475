"""Dropping what has been kept long enough, one batch in one transaction; what another node drops just now is left."""

import msgspec

from offload.core.task import Seconds
from offload.ports import Purged, Retention
from offload.stores.postgres.flush import drop_tags
from offload.stores.postgres.rows import error_from, stored
from offload.stores.postgres.statements import Connection, columns

# index: tasks_expiring
EXPIRED = """
    SELECT t.key, r.id FROM (
        SELECT key, expires_at FROM tasks
         WHERE NOT payload_dropped AND expires_at IS NOT NULL AND expires_at <= $1
           AND status NOT IN ('QUEUED', 'RUNNING')
         ORDER BY expires_at, key LIMIT $2 FOR UPDATE SKIP LOCKED) t
      JOIN requests r ON r.key = t.key ORDER BY t.expires_at, t.key
"""
# index: tasks_ended. Only what has ended has a time at which it did.
ENDED = """
    SELECT t.key, r.id, t.payload_dropped FROM (
        SELECT key, finished_at, payload_dropped FROM tasks
         WHERE finished_at IS NOT NULL AND finished_at <= $1 AND key < (SELECT max(key) FROM tasks)
         ORDER BY finished_at, key LIMIT $2 FOR UPDATE SKIP LOCKED) t
      JOIN requests r ON r.key = t.key ORDER BY t.finished_at, t.key
"""
DROP_PAYLOAD = (
    "DELETE FROM events WHERE key = ANY($1::bigint[]) AND kind <> 'status'",
    "UPDATE requests SET input = '{}', files = NULL WHERE key = ANY($1::bigint[])",  # the fingerprint stays
    "UPDATE outcomes SET result = NULL, result_file = NULL, file_bytes = 0 WHERE key = ANY($1::bigint[])",
    # a change that was decided on the whole task must not be written now
    "UPDATE tasks SET payload_dropped = true, upload_to = NULL, version = version + 1 WHERE key = ANY($1::bigint[])",
)
# It may quote the input. Text is not edited as JSON there: that type of PostgreSQL holds no \\u0000.
ERRORS = "SELECT key, error FROM outcomes WHERE key = ANY($1::bigint[]) AND error IS NOT NULL"
SET_ERRORS = """
    UPDATE outcomes o SET error = v.error FROM unnest($1::bigint[], $2::text[]) v (key, error) WHERE o.key = v.key
"""
DROP_ROW = (
    "DELETE FROM events WHERE key = ANY($1::bigint[])",
    "DELETE FROM outcomes WHERE key = ANY($1::bigint[])",
    "DELETE FROM deliveries WHERE task = ANY($1::bigint[])",
    "DELETE FROM tasks WHERE key = ANY($1::bigint[])",
    "DELETE FROM requests WHERE key = ANY($1::bigint[])",
)
# index: idempotency_age
OLD_KEYS = """
    DELETE FROM idempotency WHERE (owner, name) IN (
        SELECT owner, name FROM idempotency WHERE created_at <= $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
IDLE_HOSTS = """
    DELETE FROM callback_hosts WHERE host IN (
        SELECT host FROM callback_hosts WHERE due_at IS NULL AND used_at <= $1
         ORDER BY host LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
# a row for each connection: those of nodes that are gone; one that has only been idle makes its mark again, and one
# that is cut off for as long as that finds no mark, and takes what it committed for undone
OLD_MARKS = "DELETE FROM marks WHERE at < now() - interval '1 day'"
# index: files_age
OLD_FILES = """
    DELETE FROM files WHERE id IN (
        SELECT id FROM files WHERE created_at < $1 ORDER BY created_at, id LIMIT $2 FOR UPDATE SKIP LOCKED)
    RETURNING id, created_at
"""


async def purge(connection: Connection, what: Retention) -> Purged:
    """Drop payloads that have expired, then rows past audit, then what nobody needs any more."""
    expired = await connection.fetch(EXPIRED, what.now, what.limit)
    if expired:
        await _drop_payloads(connection, [key for key, _ in expired])
    ended = await connection.fetch(ENDED, what.now - what.audit_seconds, what.limit)
    if ended:
        await drop_tags(connection, [key for key, _, _ in ended])
        for sql in DROP_ROW:
            await connection.execute(sql, [key for key, _, _ in ended])
    await connection.execute(IDLE_HOSTS, what.now - what.audit_seconds, what.limit)
    await connection.execute(OLD_MARKS)
    done = await connection.execute(OLD_KEYS, what.now - what.key_seconds, what.limit)
    blobs = [task_id for _, task_id in expired] + [task_id for _, task_id, dropped in ended if not dropped]
    return Purged(task_ids=tuple(blobs), rows=len(ended), keys=int(done.rpartition(" ")[2]))


async def purge_files(connection: Connection, created_before: Seconds, limit: int) -> list[str]:
    """Forget the oldest files of their own."""
    rows = await connection.fetch(OLD_FILES, created_before, limit)
    return [file_id for file_id, _ in sorted(rows, key=lambda row: (row[1], row[0]))]


async def _drop_payloads(connection: Connection, keys: list[int]) -> None:
    for sql in DROP_PAYLOAD:
        await connection.execute(sql, keys)
    rows = [
        (key, stored(msgspec.structs.replace(error_from(error), traceback="")))
        for key, error in await connection.fetch(ERRORS, keys)
    ]
    if rows:
        await connection.execute(SET_ERRORS, *columns(rows))
