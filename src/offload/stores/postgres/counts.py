"""What waits and runs, counted in parts: each connection that writes adds to rows of its own."""

from offload.ports import Depth
from offload.stores.postgres.statements import Connection, Together

Place = tuple[str, str]
"""A queue and a job."""

_TYPES = {
    "slot": "integer", "queue": "text", "job": "text", "queued": "bigint", "ready": "bigint", "running": "bigint",
    "bytes": "bigint",
}  # fmt: skip
_ADD = (
    "ON CONFLICT (slot, queue, job) DO UPDATE SET "
    + ", ".join(f"{name} = counts.{name} + excluded.{name}" for name in ("queued", "ready", "running", "bytes"))
)  # fmt: skip
# A row for each place and connection; the head of the line is a lookup.
DEPTHS = """
    SELECT c.queue, c.job, c.queued, c.ready, c.running, c.bytes, h.run_at
      FROM (SELECT queue, job, sum(queued)::bigint queued, sum(ready)::bigint ready, sum(running)::bigint running,
                   sum(bytes)::bigint bytes
              FROM counts GROUP BY queue, job HAVING sum(queued) > 0 OR sum(running) > 0) c
      LEFT JOIN LATERAL (
            SELECT run_at FROM tasks t WHERE t.queue = c.queue AND t.job = c.job AND t.status = 'QUEUED' AND t.ready
             ORDER BY t.queue, t.job, t.rank, t.key LIMIT 1) h ON c.ready > 0
     ORDER BY c.queue COLLATE "C", c.job COLLATE "C"
"""


class Moves:
    """What one transaction does to the counts."""

    def __init__(self) -> None:
        self._moves: dict[Place, list[int]] = {}

    def move(self, place: Place, status: str, *, ready: bool, input_bytes: int, sign: int) -> None:
        """Let one task come (sign 1) or go (sign -1)."""
        move = self._moves.setdefault(place, [0, 0, 0, 0])
        if status == "QUEUED":
            move[0] += sign
            move[1] += sign * ready
        elif status == "RUNNING":
            move[2] += sign
        else:
            return
        move[3] += sign * input_bytes

    def enter_line(self, place: Place) -> None:
        """A QUEUED task has come due."""
        self._moves.setdefault(place, [0, 0, 0, 0])[1] += 1

    def put(self, together: Together, slot: int) -> None:
        """Have them written."""
        rows = [(slot, *place, *move) for place, move in sorted(self._moves.items()) if any(move)]
        together.insert("counts", _TYPES, rows, _ADD)


async def depths(connection: Connection) -> list[Depth]:
    rows = await connection.fetch(DEPTHS)
    return [
        Depth(queue=queue, job=job, queued=queued, ready=ready, running=running, bytes=size, oldest_at=oldest_at)
        for queue, job, queued, ready, running, size, oldest_at in rows
    ]
