"""Schedules in the database: their tasks and their progress are one commit."""

from collections.abc import Sequence
from typing import Any

import msgspec

from offload.core.schedule import Schedule
from offload.core.task import Scope, Seconds
from offload.ports import Added
from offload.ports.schedules import Firing
from offload.stores.postgres.links import Links
from offload.stores.postgres.statements import Connection
from offload.stores.postgres.transaction import add

GET = "SELECT schedule FROM schedules WHERE name = $1 AND owner = $2"
FIND = "SELECT schedule FROM schedules WHERE (name, owner) > ($1, $2) ORDER BY name, owner LIMIT $3"
# index: schedules_owned
FIND_OWN = """
    SELECT schedule FROM schedules WHERE owner = $4 AND name >= $1 AND (name, owner) > ($1, $2) ORDER BY name LIMIT $3
"""
DELETE = "DELETE FROM schedules WHERE name = $1 AND owner = $2 RETURNING 1"
# index: schedules_due
DUE = """
    SELECT schedule FROM schedules
     WHERE next_at IS NOT NULL AND next_at <= $1 AND (next_at, name, owner) > ($2, $3, $4) AND job = ANY($5::text[])
     ORDER BY next_at, name, owner LIMIT $6
"""
NEXT = """
    SELECT next_at FROM schedules WHERE next_at IS NOT NULL AND next_at > $1 AND job = ANY($2::text[])
     ORDER BY next_at LIMIT 1
"""
ADD = """
    INSERT INTO schedules (name, owner, id, job, next_at, version, schedule) VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT DO NOTHING RETURNING 1
"""
CHANGE = """
    UPDATE schedules SET job = $4, next_at = $5, version = $6, schedule = $7
     WHERE name = $1 AND owner = $2 AND id = $3 AND version = $8 RETURNING 1
"""


class PostgresSchedules:
    """ScheduleStore by the links of a PostgresStore."""

    def __init__(self, links: Links) -> None:
        self._links = links

    async def put(self, schedule: Schedule, *, version: int) -> bool:
        async def body(connection: Connection, slot: int) -> bool:
            return await _write(connection, schedule, version)

        return await self._links.transact(body)

    async def get(self, owner: str, name: str) -> Schedule | None:
        if "\0" in owner + name:  # which text of PostgreSQL never holds
            return None
        found = await self._links.read(Connection.fetchval, GET, name, owner)
        return None if found is None else _schedule(found)

    async def find(self, scope: Scope, *, after: tuple[str, str] = ("", ""), limit: int = 100) -> list[Schedule]:
        if "\0" in f"{scope.owner}{after}":
            return []
        if scope.owner is None:
            return await self._all(FIND, *after, limit)
        return await self._all(FIND_OWN, *after, limit, scope.owner)

    async def delete(self, owner: str, name: str) -> bool:
        async def body(connection: Connection, slot: int) -> bool:
            return await connection.fetchval(DELETE, name, owner) is not None

        return await self._links.transact(body)

    async def due(
        self, jobs: Sequence[str], *, now: Seconds, after: tuple[Seconds, str, str] | None = None, limit: int
    ) -> list[Schedule]:
        return await self._all(DUE, now, *(after or (-1.0, "", "")), list(jobs), limit)

    async def next_due(self, jobs: Sequence[str], *, now: Seconds) -> Seconds | None:
        found: Seconds | None = await self._links.read(Connection.fetchval, NEXT, now, list(jobs))
        return found

    async def fire(self, firing: Firing) -> list[Added] | None:
        async def body(connection: Connection, slot: int) -> list[Added] | None:
            # the row first: of those who fire at the same time the others wait here, and then it is at another version
            if not await _write(connection, firing.after, firing.before.version):
                return None
            return await add(connection, slot, firing.new)

        return await self._links.transact(body)

    async def _all(self, sql: str, *bound: Any) -> list[Schedule]:
        return [_schedule(text) for (text,) in await self._links.read(Connection.fetch, sql, *bound)]


async def _write(connection: Connection, schedule: Schedule, version: int) -> bool:
    """Write a schedule in place of the one with this version; tell whether there was one."""
    whole = msgspec.json.encode(schedule).decode()
    row = (schedule.name, schedule.owner, schedule.id, schedule.what.job, schedule.next_at, schedule.version, whole)
    found = await (connection.fetchval(CHANGE, *row, version) if version else connection.fetchval(ADD, *row))
    return found is not None


def _schedule(text: str) -> Schedule:
    return msgspec.json.decode(text, type=Schedule)
