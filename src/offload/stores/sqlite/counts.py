"""What waits and runs, counted in memory: built once at opening, then moved by what was committed."""

from collections.abc import Mapping
from dataclasses import dataclass

import apsw

from offload.core.task import Seconds
from offload.stores.sqlite import statements

Place = tuple[str, str]
"""A queue and a job."""

WAITING_AND_RUNNING = """
    SELECT queue, job, sum(status = 'QUEUED'), sum(ready), sum(status = 'RUNNING'), sum(input_bytes)
      FROM tasks INDEXED BY tasks_by_status
     WHERE status IN ('QUEUED', 'RUNNING') GROUP BY queue, job
"""


@dataclass(slots=True)
class Count:
    queued: int = 0
    ready: int = 0
    running: int = 0
    bytes: int = 0

    def move(self, status: str, *, ready: int, input_bytes: int, sign: int) -> None:
        """Let one task come (sign 1) or go (sign -1)."""
        if status == "QUEUED":
            self.queued += sign
            self.ready += sign * ready
            self.bytes += sign * input_bytes
        elif status == "RUNNING":
            self.running += sign
            self.bytes += sign * input_bytes


class Counts:
    """The counts of committed tasks. Only the writer moves them; anyone may read."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._counts: dict[Place, Count] = {}
        rows = statements.rows(connection, WAITING_AND_RUNNING)
        self.move({(queue, job): Count(*numbers) for queue, job, *numbers in rows})
        later = "SELECT min(run_at) FROM tasks INDEXED BY tasks_later WHERE status = 'QUEUED' AND ready = 0"
        self.later_at: Seconds | None = statements.value(connection, later)
        """No task with a later `run_at` comes due before; None: there is none."""

    def move(self, moves: Mapping[Place, Count]) -> None:
        for place, move in moves.items():
            old = self._counts.get(place, Count())
            new = Count(
                old.queued + move.queued, old.ready + move.ready, old.running + move.running, old.bytes + move.bytes
            )
            assert min(new.queued, new.ready, new.running, new.bytes) >= 0, (place, new)
            if new.queued or new.running:
                self._counts[place] = new  # a new object: readers on other threads never see half a move
            else:
                self._counts.pop(place, None)

    def ready(self, place: Place) -> int:
        count = self._counts.get(place)
        return 0 if count is None else count.ready

    def places(self) -> list[tuple[Place, Count]]:
        return sorted(self._counts.copy().items(), key=lambda entry: entry[0])
