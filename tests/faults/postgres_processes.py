"""A process that migrates a database until it is killed: `python -m tests.faults.postgres_processes URL`."""

import asyncio
import sys

from offload.stores.migrate import Migration
from offload.stores.postgres.migrations import MIGRATIONS, migrate
from offload.stores.postgres.sessions import Place

NEXT = len(MIGRATIONS) + 1
FILL = Migration(
    number=NEXT,
    name="fill",
    sql="""
        CREATE TABLE extra (n integer);
        INSERT INTO extra SELECT generate_series(1, 150000);
        CREATE TABLE another (n integer)
        """,
)
ONLINE = Migration(
    number=NEXT + 1,
    name="online",
    sql="""-- online
        CREATE INDEX CONCURRENTLY extra_n ON extra (n);
        CREATE UNIQUE INDEX CONCURRENTLY extra_again ON extra (n, (n + 1));
        ALTER TABLE another ADD COLUMN IF NOT EXISTS more text;
        """,
)
LONGER = [*MIGRATIONS, FILL, ONLINE]

if __name__ == "__main__":
    done = asyncio.run(migrate(Place(url=sys.argv[1]), LONGER))
    print(",".join(done), flush=True)
