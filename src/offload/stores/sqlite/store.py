"""The embedded store: one process, one SQLite file, every answer durable."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import apsw
import msgspec

from offload.core.errors import OffloadError
from offload.core.lease import PREFIX
from offload.core.task import ALL, FileRef, Scope, Seconds, Status, Task, TaskEvent
from offload.core.transitions import Change, Facts
from offload.ports import Added, Ask, Depth, Filter, LooseFile, NewTask, Note, Purged, Renewal, Retention
from offload.stores.sqlite import reads
from offload.stores.sqlite.counts import Counts
from offload.stores.sqlite.deliveries import Bell, SqliteDeliveries
from offload.stores.sqlite.file import FileLock, check, migrate, open_reader, open_writer, translated
from offload.stores.sqlite.history import SqliteHistory
from offload.stores.sqlite.keys import SqliteKeys
from offload.stores.sqlite.purge import purge, purge_files
from offload.stores.sqlite.schedules import SqliteSchedules
from offload.stores.sqlite.statements import rows
from offload.stores.sqlite.transaction import Transaction
from offload.stores.sqlite.writer import Writer

READERS = 2
Answer = TypeVar("Answer")


class SqliteStore:
    """TaskStore, QueueStore and FileStore in one file, owned until `close`; and `deliveries` and so on too."""

    def __init__(self, path: Path, lock: FileLock, writer: Writer, counts: Counts, bell: Bell) -> None:
        self._path = path
        self._lock = lock
        self._writer = writer
        self._counts = counts
        self._reader = open_reader(path)
        self._opened: list[apsw.Connection] = [self._reader]
        self._mine = threading.local()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="offload-reader")
        self._closed = False
        self.deliveries = SqliteDeliveries(self._run, self._read, bell)
        self.keys = SqliteKeys(self._run, self._read)
        self.history = SqliteHistory(self._run, self._read)
        self.schedules = SqliteSchedules(self._run, writer.call, self._read)

    @classmethod
    async def open(cls, path: Path, *, relaxed: bool = False, checked: bool = False) -> Self:
        """Open or make the file. Raise StoreInUse, StoreTooNew, StoreDamaged, or DiskFull."""
        lock, connection, counts = await asyncio.to_thread(_open, path, relaxed=relaxed, checked=checked)
        bell = Bell()
        writer = Writer(
            connect=partial(open_writer, path, relaxed=relaxed),
            perform=Transaction(counts, connection, bell.ring).perform,
            translate=partial(translated, path=path),
        )
        store = cls(path, lock, writer, counts, bell)
        writer.start(connection)
        return store

    async def close(self) -> None:
        """Write what waits, and give the file back."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._opened:
            connection.close()
        await self._writer.close()  # the last connection to close copies the log into the file and removes it
        self._lock.release()

    async def add(self, new: Sequence[NewTask]) -> list[Added]:
        added: list[Added] = await self._writer.call("add", new)
        return added

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        written: list[bool] = await self._writer.call("apply", changes)
        return written

    async def claim(self, asks: Sequence[Ask], *, node: str, now: Seconds, lease_until: Seconds) -> list[Task]:
        facts = Facts(now=now, lease_until=lease_until, node=node)
        claimed: list[Task] = await self._writer.call("claim", (asks, facts))
        return claimed

    async def note(self, notes: Sequence[Note]) -> list[bool]:
        written: list[bool] = await self._writer.call("note", notes)
        return written

    async def renew(self, held: Sequence[Task], *, lease_until: Seconds) -> list[Renewal]:
        renewals: list[Renewal] = await self._writer.call("renew", (held, lease_until))
        return renewals

    async def overdue(self, *, now: Seconds, limit: int) -> list[Task]:
        return await self._read(reads.overdue, now, limit)

    async def next_due(self, now: Seconds) -> Seconds | None:
        return await self._read(reads.next_due, now)

    async def get(self, scope: Scope, task_id: str) -> Task | None:
        # On the caller's thread: a lookup by key takes less than handing it to another thread would.
        return self._read_here(lambda: reads.get(self._reader, scope, task_id))

    async def read(self, task_id: str) -> Task | None:
        """Return a task of any owner."""
        return await self.get(ALL, task_id)

    async def find(self, scope: Scope, wanted: Filter) -> list[Task]:
        return await self._read(reads.find, scope, wanted)

    async def events(self, scope: Scope, task_id: str, *, after: int = 0, limit: int = 1000) -> list[TaskEvent]:
        return await self._read(reads.events, scope, task_id, after, limit)

    async def depths(self) -> list[Depth]:
        return self._read_here(lambda: list(self._depths()))

    async def purge(self, what: Retention) -> Purged:
        return await self._run(lambda connection: purge(connection, what))

    async def paused(self) -> frozenset[str]:
        found = await self._read(rows, "SELECT queue FROM queues WHERE paused = 1")
        return frozenset(queue for (queue,) in found)

    async def set_paused(self, queue: str, paused: bool) -> None:
        sql = "INSERT OR REPLACE INTO queues (queue, paused) VALUES (?, ?)"
        await self._run(lambda connection: rows(connection, sql, queue, paused))

    async def position(self, task: Task, *, most: int) -> int | None:
        if task.status is not Status.QUEUED:
            return None
        jobs = [job for (queue, job), count in self._counts.places() if queue == task.queue and count.ready]
        return await self._read(reads.position, task, jobs, most)

    async def add_file(self, file: LooseFile) -> None:
        sql = "INSERT INTO files (id, owner, file, created_at) VALUES (?, ?, ?, ?)"
        row = (file.id, file.owner, msgspec.json.encode(file.file).decode(), file.created_at)
        await self._run(lambda connection: rows(connection, sql, *row))

    async def get_file(self, scope: Scope, file_id: str) -> LooseFile | None:
        sql = "SELECT owner, file, created_at FROM files WHERE id = ?"
        for owner, file, created_at in self._read_here(lambda: rows(self._reader, sql, file_id)):
            if scope.owner is None or scope.owner == owner:
                ref = msgspec.json.decode(file, type=FileRef)
                return LooseFile(id=file_id, owner=owner, file=ref, created_at=created_at)
        return None

    async def purge_files(self, *, created_before: Seconds, limit: int) -> list[str]:
        return await self._run(lambda connection: purge_files(connection, created_before, limit))

    async def _run(self, function: Callable[[apsw.Connection], Answer]) -> Answer:
        """Run a function of the writing connection as a part of the next transaction."""
        answer: Answer = await self._writer.call("run", function)
        return answer

    async def _read(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Run a function of a reading connection on another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read_there, function, arguments)

    def _read_there(self, function: Callable[..., Answer], arguments: Iterable[Any]) -> Answer:
        try:
            connection = getattr(self._mine, "connection", None)
            if connection is None:
                connection = self._mine.connection = open_reader(self._path)
                self._opened.append(connection)
            return function(connection, *arguments)
        except apsw.Error as error:
            raise translated(error, self._path) from error

    def _read_here(self, function: Callable[[], Answer]) -> Answer:
        try:
            return function()
        except apsw.Error as error:
            raise translated(error, self._path) from error

    def _depths(self) -> Iterable[Depth]:
        for (queue, job), count in self._counts.places():
            head = rows(self._reader, reads.HEAD_OF_LINE, queue, job) if count.ready else []
            yield Depth(
                queue=queue,
                job=job,
                queued=count.queued,
                ready=count.ready,
                running=count.running,
                bytes=count.bytes,
                oldest_at=head[0][0] if head else None,
            )


def _open(path: Path, *, relaxed: bool, checked: bool) -> tuple[FileLock, apsw.Connection, Counts]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        connection = open_writer(path, relaxed=relaxed)
        migrate(connection, path)
        if checked:
            check(connection, path)
        # The file has one owner, so whoever held these leases is gone; workers elsewhere hold theirs all the same.
        held_here = "status = 'RUNNING' AND (node IS NULL OR substr(node, 1, ?) <> ?)"
        connection.execute(f"UPDATE tasks SET lease_until = 0 WHERE {held_here}", (len(PREFIX), PREFIX))
        connection.execute("UPDATE deliveries SET lease_until = 0 WHERE lease_until IS NOT NULL")
        return lock, connection, Counts(connection)
    except (apsw.Error, OffloadError) as error:
        lock.release()
        raise translated(error, path) from error
