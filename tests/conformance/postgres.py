"""PostgreSQL for the tests of this folder: one server for all, and a database that is empty for each test."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from offload.conformance.places import Place
from offload.stores.postgres.store import PostgresStore
from tests.backends.postgres import Postgres

TEMPLATE = "template_offload"
EMPTY = """
    DO $$
    DECLARE one text;
    BEGIN
        FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'offload' AND tablename <> 'migrations' LOOP
            EXECUTE format('DELETE FROM offload.%I', one);
        END LOOP;
        FOR one IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'offload' LOOP
            EXECUTE format('ALTER SEQUENCE offload.%I RESTART', one);
        END LOOP;
    END $$
"""
"""Where little was written this takes a tenth of what a new database takes."""


class Databases:
    """Databases of one server, each made of a template that was migrated once."""

    def __init__(self, server: Postgres) -> None:
        self.server = server
        self._numbers = itertools.count(1)
        self._used: str | None = None
        self._untouched: str | None = None
        self._place = ""

    async def create(self) -> str:
        """Return the URL of a new, empty one."""
        number = next(self._numbers)
        if number == 1:
            store = await PostgresStore.open(self.server.create(TEMPLATE))
            await store.close()
        return self.server.create(f"test_{number}", template=TEMPLATE)

    async def empty(self) -> str:
        """Return the URL of the one that all tests use after each other, emptied."""
        if self._used is None:
            self._used = await self.create()
            return self._used
        connection = await asyncpg.connect(self._used)
        try:
            await connection.execute(EMPTY)
        finally:
            await connection.close()
        return self._used

    async def untouched(self) -> str:
        """Return the URL of one that nobody writes into, whose plans show nothing of what earlier tests left."""
        if self._untouched is None:
            self._untouched = await self.create()
        return self._untouched

    @asynccontextmanager
    async def at(self, place: Place) -> AsyncIterator[PostgresStore]:
        """Open the store at a place; what was at the place before it is gone."""
        url = self._used if self._used is not None and self._place == place.name else await self.empty()
        self._place = place.name
        store = await PostgresStore.open(url)
        try:
            yield store
        finally:
            await store.close()


@contextmanager
def databases() -> Iterator[Databases]:
    """Start a server for as long as this is open."""
    with Postgres() as server:
        yield Databases(server)
