"""Bringing the schema up to date: one process at a time, each step whole, and a step that was cut off is done again."""

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg

from offload.core.errors import StoreUnavailable
from offload.core.task import Seconds
from offload.stores.migrate import Migration, load_migrations, pending
from offload.stores.postgres.address import checked
from offload.stores.postgres.sessions import (
    LOCKS,
    RETRY_SECONDS,
    SCHEMA,
    Place,
    check_server,
    check_sessions,
    connect,
    translated,
)
from offload.stores.postgres.statements import Connection

log = logging.getLogger("offload.store")

MIGRATIONS = load_migrations(Path(__file__).parent / "schema")
ONLINE = "-- online"
"""A script that begins with this line takes long: its statements run one by one, beside the work of other nodes."""
LOCK_SECONDS = 600.0
"""How long another process may take for its migration before this one stops waiting for it."""
PAUSE_SECONDS = 0.2
_INDEX = re.compile(r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?!IF\b)(\w+)", re.IGNORECASE)
TABLE = f"""
    CREATE SCHEMA IF NOT EXISTS {SCHEMA};
    CREATE TABLE IF NOT EXISTS {SCHEMA}.migrations (
        number     integer PRIMARY KEY,
        name       text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""
HAS_TABLE = "SELECT to_regclass($1) IS NOT NULL"
AT = "SELECT coalesce(max(number), 0) FROM migrations"
VALID = """
    SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = $1 AND n.nspname = $2
"""


async def migrate(
    place: Place, migrations: Sequence[Migration] = MIGRATIONS, *, wait: Seconds = LOCK_SECONDS
) -> list[str]:
    """Bring the schema up to date; return the names of what was run. Raise StoreTooNew when it is ahead of us."""
    # a schema is never the newest thing that a crash of a relaxed database takes: the nodes work on without it
    connection = await connect(replace(place, relaxed=False))
    try:
        await check_server(connection, place)
        await check_sessions(connection, place)
        if not await lacking(connection, place, migrations):  # as nearly always: nobody has to wait for a lock
            return []
        await _lock(connection, place, wait)
        await _make_table(connection, place)
        todo = await lacking(connection, place, migrations)
        for migration in todo:
            log.info("%s: migration %d, %s", place.name, migration.number, migration.name)
            await _apply(connection, migration)
        return [migration.name for migration in todo]
    finally:
        await connection.close()  # which lets go of the lock


async def migrate_url(url: str) -> list[str]:
    """Bring the database of a URL up to date; return the names of what was run."""
    place = Place(url=checked(url))
    try:
        return await migrate(place)
    except Exception as error:
        raise translated(error, place) from error


async def lacking(
    connection: Connection, place: Place, migrations: Sequence[Migration] = MIGRATIONS
) -> list[Migration]:
    """Return what is still to be run. Raise StoreTooNew."""
    at = 0
    if await connection.fetchval(HAS_TABLE, f"{SCHEMA}.migrations"):
        at = await connection.fetchval(AT)
    return pending(migrations, at=at, where=place.name)


async def _lock(connection: Connection, place: Place, wait: Seconds) -> None:
    """Wait for our turn by asking again and again: who waits inside a statement would hold up an index made online."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1, 0)", LOCKS):
        if loop.time() > until:
            raise StoreUnavailable(f"{place.name} is being migrated by another process", retry_seconds=RETRY_SECONDS)
        await asyncio.sleep(PAUSE_SECONDS)


async def _make_table(connection: Connection, place: Place) -> None:
    if await connection.fetchval(HAS_TABLE, f"{SCHEMA}.migrations"):
        return
    try:
        async with connection.transaction():
            await connection.execute(TABLE)
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreUnavailable(
            f"{place.name}: offload may not make its schema there ({error}); as an owner of the database: "
            f"CREATE SCHEMA {SCHEMA} AUTHORIZATION <the user of the URL>",
            retry_seconds=RETRY_SECONDS,
        ) from error


async def _apply(connection: Connection, migration: Migration) -> None:
    record = f"INSERT INTO migrations (number, name) VALUES ({migration.number}, '{migration.name}')"
    if not migration.sql.startswith(ONLINE):
        async with connection.transaction():
            await connection.execute(migration.sql, timeout=LOCK_SECONDS)
            await connection.execute(record)
        return
    for statement in filter(None, map(str.strip, migration.sql.removeprefix(ONLINE).split(";"))):
        await _run_online(connection, statement)
    await connection.execute(record)


async def _run_online(connection: Connection, statement: str) -> None:
    """Run a statement that may have been run before, wholly or in part."""
    if found := _INDEX.search(statement):
        valid = await connection.fetchval(VALID, found[1].lower(), SCHEMA)
        if valid:
            return
        if valid is False:  # a crash left it half made
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {found[1]}", timeout=LOCK_SECONDS)
    await connection.execute(statement, timeout=LOCK_SECONDS)
