"""The nodes that share the database, and its time."""

import msgspec

from offload.core.task import Seconds
from offload.ports.nodes import NodeState
from offload.stores.postgres.links import Links
from offload.stores.postgres.statements import Connection

BEAT = """
    INSERT INTO nodes (name, state, seen_at) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO UPDATE SET state = excluded.state, seen_at = excluded.seen_at
"""
ALL = 'SELECT state FROM nodes ORDER BY name COLLATE "C"'
FORGET = "DELETE FROM nodes WHERE seen_at < $1"
LEAVE = "DELETE FROM nodes WHERE name = $1"
NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


class PostgresNodes:
    """NodeStore by the links of a PostgresStore."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def beat(self, node: NodeState) -> None:
        text = msgspec.json.encode(node).decode()
        await self._links.read(Connection.execute, BEAT, node.name, text, node.seen_at)

    async def all(self) -> list[NodeState]:
        rows = await self._links.read(Connection.fetch, ALL)
        return [msgspec.json.decode(state, type=NodeState) for (state,) in rows]

    async def forget(self, *, seen_before: Seconds) -> int:
        done = await self._links.read(Connection.execute, FORGET, seen_before)
        return int(done.rpartition(" ")[2])

    async def leave(self, name: str) -> None:
        await self._links.read(Connection.execute, LEAVE, name)

    async def now(self) -> Seconds | None:
        found: Seconds = await self._links.read(Connection.fetchval, NOW)
        return found
