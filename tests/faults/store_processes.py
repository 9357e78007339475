"""Processes that use an SQLite store until they are killed: `python -m tests.faults.store_processes DUTY PATH`."""

import asyncio
import sys
from pathlib import Path

from offload.conformance.making import queued
from offload.stores.migrate import Migration
from offload.stores.sqlite.file import MIGRATIONS, migrate, open_writer
from offload.stores.sqlite.store import SqliteStore

CALLERS = 16
NEXT = len(MIGRATIONS) + 1
LONG_MIGRATION = Migration(
    number=NEXT,
    name="long",
    sql="""
        CREATE TABLE extra (n INTEGER, filling BLOB);
        INSERT INTO extra
            WITH RECURSIVE count (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 10000000)
            SELECT n, zeroblob(4000) FROM count;
        CREATE TABLE another (n INTEGER)
        """,
)
SHORT_MIGRATION = Migration(number=NEXT, name="short", sql="CREATE TABLE extra (n INTEGER); CREATE TABLE another (n)")


async def hold(path: Path) -> None:
    """Own the file, with one running task in it."""
    store = await SqliteStore.open(path)
    await store.add([queued()])
    print("ready", flush=True)
    await asyncio.Event().wait()


async def accept(path: Path) -> None:
    """Add tasks without end; print the id of each that was acknowledged."""
    store = await SqliteStore.open(path)

    async def caller() -> None:
        while True:
            (added,) = await store.add([queued()])
            sys.stdout.write(f"{added.task.id}\n")
            sys.stdout.flush()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def migrate_long(path: Path) -> None:
    connection = open_writer(path, relaxed=False)
    migrate(connection, path, [*MIGRATIONS, LONG_MIGRATION])
    print("migrated", flush=True)


if __name__ == "__main__":
    duties = {"hold": hold, "accept": accept, "migrate_long": migrate_long}
    asyncio.run(duties[sys.argv[1]](Path(sys.argv[2])))
