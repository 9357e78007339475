"""The store that many nodes share: one PostgreSQL database, every answer durable there."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Self

import msgspec

from offload.core.errors import StoreUnavailable
from offload.core.store_errors import StoreInDoubt
from offload.core.task import ALL, FileRef, Scope, Seconds, Status, Task, TaskEvent
from offload.core.transitions import Change, Facts
from offload.ports import Added, Ask, Depth, Filter, LooseFile, NewTask, Note, Purged, Renewal, Retention
from offload.stores.postgres import reads
from offload.stores.postgres.address import checked
from offload.stores.postgres.claims import claim
from offload.stores.postgres.counts import depths
from offload.stores.postgres.deliveries import PostgresDeliveries
from offload.stores.postgres.history import PostgresHistory
from offload.stores.postgres.keys import PostgresKeys
from offload.stores.postgres.links import Link, Links, Reach
from offload.stores.postgres.migrations import migrate
from offload.stores.postgres.nodes import PostgresNodes
from offload.stores.postgres.purge import purge, purge_files
from offload.stores.postgres.schedules import PostgresSchedules
from offload.stores.postgres.sessions import RETRY_SECONDS, Place, translated
from offload.stores.postgres.statements import Connection
from offload.stores.postgres.transaction import perform
from offload.stores.postgres.unmaking import unmake
from offload.stores.postgres.writer import Call, Writer

LANES = 2
"""Connections that write what callers share transactions for."""
LINKS = 6
"""Connections for everything else: reads, claims, and what is rare."""
ADD_SECONDS = 2.0
"""A client that submits is told to try again when its task is not stored by then."""


class PostgresStore:
    """TaskStore, QueueStore and FileStore in one database; `deliveries`, `keys` and so on are ports too."""

    def __init__(self, place: Place) -> None:
        self._reach = Reach(place)
        self._links = Links(self._reach, LINKS)
        self._writer = Writer([Link(self._reach) for _ in range(LANES)], perform, self._committed)
        self._closed = False
        self.deliveries = PostgresDeliveries(self._writer, self._links)
        self.keys = PostgresKeys(self._links)
        self.nodes = PostgresNodes(self._links)
        self.history = PostgresHistory(self._links)
        self.schedules = PostgresSchedules(self._links)

    @classmethod
    async def open(cls, url: str, *, relaxed: bool = False) -> Self:
        """Bring the schema up to date and open it. Raise StoreUnavailable, StoreTooNew or WrongSetting."""
        place = Place(url=checked(url), relaxed=relaxed)
        try:
            await migrate(place)
        except Exception as error:
            raise translated(error, place) from error
        store = cls(place)
        store._links.start()
        store._writer.start()
        return store

    async def close(self) -> None:
        """Write what waits, and let the connections go."""
        if self._closed:
            return
        self._closed = True
        await self._writer.close()
        await self._links.close()

    async def add(self, new: Sequence[NewTask]) -> list[Added]:
        self._reach.must_be_there()
        future = self._writer.call("add", new)
        done, _ = await asyncio.wait([future], timeout=ADD_SECONDS)
        if not done:
            kind = StoreInDoubt if self._writer.give_up(future) else StoreUnavailable
            raise kind(f"{self._reach.place.name} does not answer", retry_seconds=RETRY_SECONDS)
        added: list[Added] = future.result()
        return added

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        written: list[bool] = await self._writer.call("apply", changes)
        return written

    async def claim(self, asks: Sequence[Ask], *, node: str, now: Seconds, lease_until: Seconds) -> list[Task]:
        facts = Facts(now=now, lease_until=lease_until, node=node)
        taken = await self._links.transact(partial(claim, asks=asks, facts=facts))
        self._ring_for(any(task.callback for task in taken))
        return taken

    async def note(self, notes: Sequence[Note]) -> list[bool]:
        written: list[bool] = await self._writer.call("note", notes)
        return written

    async def renew(self, held: Sequence[Task], *, lease_until: Seconds) -> list[Renewal]:
        renewals: list[Renewal] = await self._writer.call("renew", (held, lease_until))
        return renewals

    async def overdue(self, *, now: Seconds, limit: int) -> list[Task]:
        return await self._links.read(reads.overdue, now, limit)

    async def next_due(self, now: Seconds) -> Seconds | None:
        return await self._links.read(reads.next_due, now)

    async def get(self, scope: Scope, task_id: str) -> Task | None:
        return await self._links.read(reads.get, scope, task_id)

    async def read(self, task_id: str) -> Task | None:
        """Return a task of any owner."""
        return await self.get(ALL, task_id)

    async def find(self, scope: Scope, wanted: Filter) -> list[Task]:
        return [] if _unsayable(scope, wanted) else await self._links.read(reads.find, scope, wanted)

    async def events(self, scope: Scope, task_id: str, *, after: int = 0, limit: int = 1000) -> list[TaskEvent]:
        if _unsayable(scope):
            return []
        return await self._links.read(reads.events, scope, task_id, after, limit)

    async def depths(self) -> list[Depth]:
        return await self._links.read(depths)

    async def purge(self, what: Retention) -> Purged:
        async def body(connection: Connection, slot: int) -> Purged:
            return await purge(connection, what)

        return await self._links.transact(body)

    async def paused(self) -> frozenset[str]:
        rows = await self._links.read(Connection.fetch, "SELECT queue FROM queues WHERE paused")
        return frozenset(queue for (queue,) in rows)

    async def set_paused(self, queue: str, paused: bool) -> None:
        sql = """
            INSERT INTO queues (queue, paused) VALUES ($1, $2)
                ON CONFLICT (queue) DO UPDATE SET paused = excluded.paused
        """
        await self._links.read(Connection.execute, sql, queue, paused)

    async def position(self, task: Task, *, most: int) -> int | None:
        return None if task.status is not Status.QUEUED else await self._links.read(reads.position, task, most)

    async def add_file(self, file: LooseFile) -> None:
        sql = "INSERT INTO files (id, owner, file, size, created_at) VALUES ($1, $2, $3, $4, $5)"
        row = (file.id, file.owner, msgspec.json.encode(file.file).decode(), file.file.size, file.created_at)

        async def body(connection: Connection, slot: int) -> None:
            await connection.execute(sql, *row)

        await self._links.transact(body)

    async def get_file(self, scope: Scope, file_id: str) -> LooseFile | None:
        sql = "SELECT owner, file, created_at FROM files WHERE id = $1"
        for owner, file, created_at in await self._links.read(Connection.fetch, sql, file_id):
            if scope.owner is None or scope.owner == owner:
                ref = msgspec.json.decode(file, type=FileRef)
                return LooseFile(id=file_id, owner=owner, file=ref, created_at=created_at)
        return None

    async def purge_files(self, *, created_before: Seconds, limit: int) -> list[str]:
        async def body(connection: Connection, slot: int) -> list[str]:
            return await purge_files(connection, created_before, limit)

        return await self._links.transact(body)

    def _committed(self, calls: Sequence[Call]) -> None:
        unwanted = [
            added.task
            for call in calls
            if call.given_up and call.kind == "add"
            for new, added in zip(call.argument, call.answer or (), strict=False)
            if added.fresh and not new.fingerprint
        ]
        if unwanted:
            self._links.later(partial(unmake, tasks=unwanted))
        self._ring_for(any(_has_deliveries(call) for call in calls))

    def _ring_for(self, deliveries: bool) -> None:
        if deliveries:
            self.deliveries.ring()


def _unsayable(scope: Scope, wanted: Filter | None = None) -> bool:
    """Tell whether what is looked for holds a character that text of PostgreSQL never holds."""
    texts = [scope.owner]
    if wanted is not None:
        texts += [wanted.job, wanted.queue, *wanted.tags, *wanted.tags.values()]
    return any(text is not None and "\0" in text for text in texts)


def _has_deliveries(call: Call) -> bool:
    return call.kind in ("apply", "note") and any(one.deliveries for one in call.argument)
