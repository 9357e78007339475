"""Taking back tasks that turn out to be stored when their clients have been told to try again.

Only those that no client can name: under its own id or idempotency key, a client may have asked another node meanwhile
and have been told that the task is there.
"""

from collections.abc import Sequence

from offload.core.task import Task
from offload.stores.postgres.counts import Moves
from offload.stores.postgres.flush import drop_tags
from offload.stores.postgres.statements import Connection, Together

# One that a worker has taken by now is left: it is a task like any other, of which its client does not know.
UNTOUCHED = """
    SELECT key, queue, job, status, ready, input_bytes FROM tasks
     WHERE key = ANY($1::bigint[]) AND version <= 2 AND attempt = 0 AND status IN ('CREATED', 'QUEUED')
       AND (SELECT id FROM requests r WHERE r.key = tasks.key) = ANY($2::text[])
     ORDER BY key FOR UPDATE
"""
# an idempotency key whose task is gone is a new key
UNMAKE = (
    "DELETE FROM events WHERE key = ANY($1::bigint[])",
    "DELETE FROM tasks WHERE key = ANY($1::bigint[])",
    "DELETE FROM requests WHERE key = ANY($1::bigint[])",
)


async def unmake(connection: Connection, slot: int, *, tasks: Sequence[Task]) -> None:
    """Forget those that nobody has touched."""
    moves = Moves()
    keys = []
    asked = [task.key for task in tasks], [task.id for task in tasks]
    for key, queue, job, status, ready, input_bytes in await connection.fetch(UNTOUCHED, *asked):
        keys.append(key)
        moves.move((queue, job), status, ready=ready, input_bytes=input_bytes, sign=-1)
    await drop_tags(connection, keys)
    for sql in UNMAKE:
        await connection.execute(sql, keys)
    together = Together()
    moves.put(together, slot)
    await together.run(connection)
