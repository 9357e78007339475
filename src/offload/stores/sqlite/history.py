"""What queues saw lately, in the SQLite file: some hundred small rows."""

from collections.abc import Callable, Sequence
from typing import Any

import apsw

from offload.core.history import Sample
from offload.core.task import Seconds
from offload.stores.sqlite.statements import rows

ADD = """
    INSERT OR REPLACE INTO history (at, node, queue, arrivals, done, failed, queued, running)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
FORGET = "DELETE FROM history WHERE at < ?"
SINCE = """
    SELECT at, node, queue, arrivals, done, failed, queued, running FROM history
     WHERE at > ? ORDER BY at, node, queue  -- index: the primary key
"""


class SqliteHistory:
    """HistoryStore in the file of a SqliteStore, by the writer and the readers of that."""

    def __init__(self, run: Callable[[Callable[[apsw.Connection], Any]], Any], read: Callable[..., Any]) -> None:
        self._run = run
        self._read = read

    async def add(self, samples: Sequence[Sample], *, forget_before: Seconds) -> None:
        def write(connection: apsw.Connection) -> None:
            for s in samples:
                rows(connection, ADD, s.at, s.node, s.queue, s.arrivals, s.done, s.failed, s.queued, s.running)
            rows(connection, FORGET, forget_before)

        await self._run(write)

    async def since(self, at: Seconds) -> list[Sample]:
        return [
            Sample(
                at=each[0], node=each[1], queue=each[2], arrivals=each[3], done=each[4], failed=each[5],
                queued=each[6], running=each[7],
            )
            for each in await self._read(rows, SINCE, at)
        ]  # fmt: skip
