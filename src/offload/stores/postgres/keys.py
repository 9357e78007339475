"""API keys in the database, and counts of what their owners hold."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from offload.core.keys import ApiKey
from offload.core.task import Seconds
from offload.ports import Depth
from offload.stores.postgres.address import checked
from offload.stores.postgres.links import Links
from offload.stores.postgres.sessions import SCHEMA, Place, connect, translated
from offload.stores.postgres.statements import Connection

ADD = "INSERT INTO keys (id, key) VALUES ($1, $2)"
ALL = "SELECT key, revoked_at, last_used_at FROM keys ORDER BY made"
REVOKE = "UPDATE keys SET revoked_at = coalesce(revoked_at, $1) WHERE id = $2"
USED = """
    UPDATE keys k SET last_used_at = greatest(k.last_used_at, v.at)
      FROM unnest($1::text[], $2::float8[]) v (id, at) WHERE k.id = v.id
"""
SECRET = "INSERT INTO secrets (name, secret) VALUES ('links', $1) ON CONFLICT (name) DO NOTHING"
KNOWN_SECRET = "SELECT secret FROM secrets WHERE name = 'links'"
# index: tasks_owned
OWNED = "tasks WHERE owner = $1 AND owner <> '' AND status IN ('CREATED', 'QUEUED', 'RUNNING')"
UNFINISHED = f"SELECT count(*) FROM {OWNED}"
DEPTHS = f"""
    SELECT queue, count(*) FILTER (WHERE status = 'QUEUED'), count(*) FILTER (WHERE status = 'QUEUED' AND ready),
           count(*) FILTER (WHERE status = 'RUNNING'),
           coalesce(sum(input_bytes) FILTER (WHERE status <> 'CREATED'), 0)::bigint
      FROM {OWNED} GROUP BY queue ORDER BY queue COLLATE "C"
"""
# indexes: tasks_kept, files_owned
STORED = """
    SELECT ((SELECT coalesce(sum(t.input_bytes + coalesce(length(o.result), 0) + coalesce(o.file_bytes, 0)), 0)
               FROM tasks t LEFT JOIN outcomes o ON o.key = t.key
              WHERE t.owner = $1 AND t.owner <> '' AND NOT t.payload_dropped)
          + (SELECT coalesce(sum(size), 0) FROM files WHERE owner = $1 AND owner <> ''))::bigint
"""


class PostgresKeys:
    """KeyStore by the links of a PostgresStore."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def add(self, key: ApiKey) -> None:
        text = msgspec.json.encode(key).decode()

        async def body(connection: Connection, slot: int) -> None:
            await connection.execute(ADD, key.id, text)

        await self._links.transact(body)

    async def all(self) -> list[ApiKey]:
        return [_key_from(row) for row in await self._links.read(Connection.fetch, ALL)]

    async def revoke(self, key_id: str, *, at: Seconds) -> bool:
        async def body(connection: Connection, slot: int) -> bool:
            return bool(await connection.execute(REVOKE, at, key_id) == "UPDATE 1")

        return await self._links.transact(body)

    async def note_uses(self, uses: Mapping[str, Seconds]) -> None:
        async def body(connection: Connection, slot: int) -> None:
            await connection.execute(USED, *map(list, zip(*sorted(uses.items()), strict=True)))

        if uses:
            await self._links.transact(body)

    async def depths(self, owner: str) -> list[Depth]:
        return [
            Depth(queue=queue, job="", queued=queued, ready=ready, running=running, bytes=size)
            for queue, queued, ready, running, size in await self._links.read(Connection.fetch, DEPTHS, owner)
        ]

    async def unfinished(self, owner: str) -> int:
        found: int = await self._links.read(Connection.fetchval, UNFINISHED, owner)
        return found

    async def secret(self, fresh: bytes) -> bytes:
        async def body(connection: Connection, slot: int) -> None:
            await connection.execute(SECRET, fresh)

        await self._links.transact(body)
        known: bytes = await self._links.read(Connection.fetchval, KNOWN_SECRET)
        return known

    async def stored_bytes(self, owner: str) -> int:
        found: int = await self._links.read(Connection.fetchval, STORED, owner)
        return found


async def any_key(url: str) -> bool:
    """Tell whether a database has keys; one without our schema has none."""
    place = Place(url=checked(url), relaxed=True)
    try:
        connection = await connect(place)
        try:
            there = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.keys")
            return bool(there and await connection.fetchval("SELECT EXISTS (SELECT 1 FROM keys)"))
        finally:
            await connection.close()
    except Exception as error:
        raise translated(error, place) from error


def _key_from(row: Iterable[Any]) -> ApiKey:
    text, revoked_at, last_used_at = row
    key = msgspec.json.decode(text, type=ApiKey)
    return msgspec.structs.replace(key, revoked_at=revoked_at, last_used_at=last_used_at)
