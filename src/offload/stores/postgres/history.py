"""What queues saw lately, in the database: some hundred small rows."""

from collections.abc import Sequence

import msgspec

from offload.core.history import Sample
from offload.core.task import Seconds
from offload.stores.postgres.links import Links
from offload.stores.postgres.statements import Connection, insert

TYPES = {
    "at": "float8", "node": "text", "queue": "text", "arrivals": "bigint", "done": "bigint", "failed": "bigint",
    "queued": "bigint", "running": "bigint",
}  # fmt: skip
NEWER = "ON CONFLICT (at, node, queue) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in TYPES if name not in ("at", "node", "queue")
)
FORGET = "DELETE FROM history WHERE at < $1"
# index: the primary key
SINCE = f"SELECT {', '.join(TYPES)} FROM history WHERE at > $1 ORDER BY at, node, queue"


class PostgresHistory:
    """HistoryStore by the links of a PostgresStore."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def add(self, samples: Sequence[Sample], *, forget_before: Seconds) -> None:
        newest = {(sample.at, sample.node, sample.queue): msgspec.structs.astuple(sample) for sample in samples}

        async def body(connection: Connection, slot: int) -> None:
            await insert(connection, "history", TYPES, [row for _, row in sorted(newest.items())], NEWER)
            await connection.execute(FORGET, forget_before)

        await self._links.transact(body)

    async def since(self, at: Seconds) -> list[Sample]:
        rows = await self._links.read(Connection.fetch, SINCE, at)
        return [Sample(**dict(zip(TYPES, row, strict=True))) for row in rows]
