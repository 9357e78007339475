"""Schedules in the SQLite file: their tasks and their progress are one commit."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import apsw
import msgspec

from offload.core.schedule import Schedule
from offload.core.task import Scope, Seconds
from offload.ports import Added
from offload.ports.schedules import Firing
from offload.stores.sqlite.statements import rows

GET = "SELECT schedule FROM schedules WHERE name = ? AND owner = ?"
FIND = "SELECT schedule FROM schedules WHERE (name, owner) > (?, ?) ORDER BY name, owner LIMIT ?"
FIND_OWN = """
    SELECT schedule FROM schedules INDEXED BY schedules_owned
     WHERE owner = ? AND name > ? ORDER BY name LIMIT ?
"""
DELETE = "DELETE FROM schedules WHERE name = ? AND owner = ? RETURNING 1"
DUE = """
    SELECT schedule FROM schedules INDEXED BY schedules_due
     WHERE next_at IS NOT NULL AND next_at <= ? AND (next_at, name, owner) > (?, ?, ?)
       AND job IN (SELECT value FROM json_each(?))
     ORDER BY next_at, name, owner LIMIT ?
"""
NEXT = """
    SELECT next_at FROM schedules INDEXED BY schedules_due
     WHERE next_at IS NOT NULL AND next_at > ? AND job IN (SELECT value FROM json_each(?))
     ORDER BY next_at LIMIT 1
"""
ADD = """
    INSERT INTO schedules (job, next_at, version, schedule, id, name, owner) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING RETURNING 1
"""
CHANGE = """
    UPDATE schedules SET job = ?, next_at = ?, version = ?, schedule = ?
     WHERE id = ? AND name = ? AND owner = ? AND version = ? RETURNING 1
"""
STANDS = "SELECT 1 FROM schedules WHERE name = ? AND owner = ? AND id = ? AND version = ?"

Run = Callable[[Callable[[apsw.Connection], Any]], Any]
Call = Callable[[str, Any], Any]
Read = Callable[..., Any]


class SqliteSchedules:
    """ScheduleStore in the file of a SqliteStore, by the writer and the readers of that."""

    def __init__(self, run: Run, call: Call, read: Read) -> None:
        self._run = run
        self._call = call
        self._read = read

    async def put(self, schedule: Schedule, *, version: int) -> bool:
        return bool(await self._run(lambda connection: write(connection, schedule, version)))

    async def get(self, owner: str, name: str) -> Schedule | None:
        found = await self._read(rows, GET, name, owner)
        return _schedule(found[0]) if found else None

    async def find(self, scope: Scope, *, after: tuple[str, str] = ("", ""), limit: int = 100) -> list[Schedule]:
        if scope.owner is None:
            return list(map(_schedule, await self._read(rows, FIND, *after, limit)))
        # of one owner: the same name again comes after only when its owner does
        name, owner = after
        own = [] if owner >= scope.owner else await self._read(rows, GET, name, scope.owner)
        own += await self._read(rows, FIND_OWN, scope.owner, name, limit)
        return list(map(_schedule, own[:limit]))

    async def delete(self, owner: str, name: str) -> bool:
        return bool(await self._run(lambda connection: rows(connection, DELETE, name, owner)))

    async def due(
        self, jobs: Sequence[str], *, now: Seconds, after: tuple[Seconds, str, str] | None = None, limit: int
    ) -> list[Schedule]:
        bound = (now, *(after or (-1.0, "", "")), json.dumps(list(jobs)), limit)
        return list(map(_schedule, await self._read(rows, DUE, *bound)))

    async def next_due(self, jobs: Sequence[str], *, now: Seconds) -> Seconds | None:
        found = await self._read(rows, NEXT, now, json.dumps(list(jobs)))
        return found[0][0] if found else None

    async def fire(self, firing: Firing) -> list[Added] | None:
        added: list[Added] | None = await self._call("fire", firing)
        return added


def stands(connection: apsw.Connection, firing: Firing) -> bool:
    """Tell whether a schedule is still as it was when its firing was decided."""
    before = firing.before
    return bool(rows(connection, STANDS, before.name, before.owner, before.id, before.version))


def write(connection: apsw.Connection, schedule: Schedule, version: int) -> list[Any]:
    """Write a schedule in place of the one with this version; return a row when there was one."""
    whole = msgspec.json.encode(schedule).decode()
    row = (schedule.what.job, schedule.next_at, schedule.version, whole, schedule.id, schedule.name, schedule.owner)
    return rows(connection, ADD, *row) if version == 0 else rows(connection, CHANGE, *row, version)


def _schedule(row: Sequence[str]) -> Schedule:
    return msgspec.json.decode(row[0], type=Schedule)
