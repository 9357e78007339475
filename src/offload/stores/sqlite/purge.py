"""Dropping what has been kept long enough, one batch in one transaction."""

import apsw

from offload.core.task import Seconds
from offload.ports import Purged, Retention
from offload.stores.sqlite import statements
from offload.stores.sqlite.rows import id_from

EXPIRED = """
    SELECT key, id FROM tasks INDEXED BY tasks_expiring
     WHERE payload_dropped = 0 AND expires_at IS NOT NULL AND expires_at <= ? AND status NOT IN ('QUEUED', 'RUNNING')
     ORDER BY expires_at, key LIMIT ?
"""
ENDED = """
    SELECT key, id, payload_dropped FROM tasks INDEXED BY tasks_ended
     WHERE finished_at IS NOT NULL AND finished_at <= ? AND status IN ('DONE', 'FAILED', 'CANCELED', 'DELETED')
       AND key < (SELECT max(key) FROM tasks)  -- so that a key is never given twice
     ORDER BY finished_at, key LIMIT ?
"""
DROP_PAYLOAD = (
    "DELETE FROM events WHERE key IN (@keys) AND kind <> 'status'",
    "UPDATE payloads SET input = x'7b7d', files = NULL WHERE key IN (@keys)",  # the fingerprint stays
    # the traceback may quote the input
    "UPDATE outcomes SET result = NULL, result_file = NULL, error = json_remove(error, '$.traceback') "
    "WHERE key IN (@keys)",
    # a change that was decided on the whole task must not be written now
    "UPDATE tasks SET payload_dropped = 1, upload_to = NULL, version = version + 1 WHERE key IN (@keys)",
)
DROP_ROW = (
    """
    DELETE FROM tags WHERE (name, value, key) IN (
        SELECT j.key, j.value, t.key FROM tasks t, json_each(t.tags) j WHERE t.key IN (@keys))
    """,
    "DELETE FROM events WHERE key IN (@keys)",
    "DELETE FROM outcomes WHERE key IN (@keys)",
    "DELETE FROM payloads WHERE key IN (@keys)",
    "DELETE FROM deliveries WHERE task IN (@keys)",
    "DELETE FROM tasks WHERE key IN (@keys)",
)
OLD_KEYS = """
    DELETE FROM idempotency WHERE (owner, name) IN (
        SELECT owner, name FROM idempotency INDEXED BY idempotency_age
         WHERE created_at <= ? ORDER BY created_at LIMIT ?)
    RETURNING 1
"""
IDLE_HOSTS = """
    DELETE FROM callback_hosts WHERE host IN (
        SELECT host FROM callback_hosts INDEXED BY callback_hosts_idle
         WHERE due_at IS NULL AND used_at <= ? ORDER BY used_at LIMIT ?)
"""
OLD_FILES = """
    DELETE FROM files WHERE id IN (
        SELECT id FROM files INDEXED BY files_age WHERE created_at < ? ORDER BY created_at, id LIMIT ?)
    RETURNING id, created_at
"""


def purge(connection: apsw.Connection, what: Retention) -> Purged:
    """Drop payloads that have expired, then rows past audit, then old idempotency keys."""
    expired = statements.rows(connection, EXPIRED, what.now, what.limit)
    for sql in DROP_PAYLOAD:
        statements.run_for(connection, sql, [key for key, _ in expired])
    ended = statements.rows(connection, ENDED, what.now - what.audit_seconds, what.limit)
    for sql in DROP_ROW:
        statements.run_for(connection, sql, [key for key, _, _ in ended])
    statements.rows(connection, IDLE_HOSTS, what.now - what.audit_seconds, what.limit)
    keys = statements.rows(connection, OLD_KEYS, what.now - what.key_seconds, what.limit)
    blobs = [task_id for _, task_id in expired] + [task_id for _, task_id, dropped in ended if not dropped]
    return Purged(task_ids=tuple(map(id_from, blobs)), rows=len(ended), keys=len(keys))


def purge_files(connection: apsw.Connection, created_before: Seconds, limit: int) -> list[str]:
    """Forget the oldest files of their own."""
    rows = statements.rows(connection, OLD_FILES, created_before, limit)
    return [file_id for file_id, _ in sorted(rows, key=lambda row: (row[1], row[0]))]
