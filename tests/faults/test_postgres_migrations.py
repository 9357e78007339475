"""Migrations of a database: killed anywhere, started by many, of a newer offload: the schema is always whole."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator

import asyncpg
import pytest

from offload.conformance.making import add
from offload.core.store_errors import StoreTooNew
from offload.stores.migrate import Migration
from offload.stores.postgres.migrations import MIGRATIONS, migrate
from offload.stores.postgres.sessions import LOCKS, Place
from offload.stores.postgres.store import PostgresStore
from tests.backends.postgres import Postgres
from tests.faults.postgres_processes import LONGER, NEXT

ROUNDS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def start(url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.postgres_processes", url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def assert_whole(url: str) -> None:
    """Everything of the long list is there once, and nothing is half made."""
    connection = await asyncpg.connect(url, server_settings={"search_path": "offload"})
    numbers = [row[0] for row in await connection.fetch("SELECT number FROM migrations ORDER BY number")]
    assert numbers == list(range(1, NEXT + 2))
    assert await connection.fetchval("SELECT count(*) FROM extra") == 150_000
    assert await connection.fetchval("SELECT count(more) FROM another") == 0
    indexes = await connection.fetch("SELECT indexrelid::regclass::text, indisvalid FROM pg_index")
    assert {"extra_n", "extra_again"} <= {name for name, _ in indexes} and all(valid for _, valid in indexes)
    await connection.close()


@pytest.mark.deadline(240)
async def test_migrations_killed_anywhere_are_finished_by_the_next(server: Postgres) -> None:
    url = server.create("killed")
    pace = random.Random()
    for _ in range(ROUNDS):
        running = start(url)
        await asyncio.sleep(pace.uniform(0.3, 2.0))  # the moment of the kill is the random part of this test
        running.kill()
        running.communicate()
    await migrate(Place(url=url), LONGER)
    await assert_whole(url)
    assert await migrate(Place(url=url), LONGER) == []


async def test_an_index_that_a_crash_left_half_made_is_made_anew(server: Postgres) -> None:
    url = server.create("half")
    await migrate(Place(url=url), LONGER[:NEXT])
    connection = await asyncpg.connect(url, server_settings={"search_path": "offload"})
    await connection.execute("INSERT INTO extra VALUES (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY extra_again ON extra (n, (n + 1))")
    await connection.execute("DELETE FROM extra WHERE ctid = (SELECT max(ctid) FROM extra WHERE n = 1)")
    await connection.close()
    assert await migrate(Place(url=url), LONGER) == ["online"]
    await assert_whole(url)


async def test_of_many_that_start_at_once_one_migrates_and_all_go_on(server: Postgres) -> None:
    url = server.create("many")
    running = [start(url) for _ in range(4)]
    said = [await asyncio.to_thread(process.communicate) for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
    assert sorted(output.strip() for output, _ in said)[:3] == ["", "", ""]
    await assert_whole(url)


async def test_nodes_that_start_at_once_on_an_empty_database_all_work(server: Postgres) -> None:
    url = server.create("nodes")
    stores = await asyncio.gather(*(PostgresStore.open(url) for _ in range(4)))
    tasks = [await add(store) for store in stores]
    for store in stores:
        assert {task.id for task in [await store.read(task.id) for task in tasks] if task} == {t.id for t in tasks}
        await store.close()


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(server: Postgres) -> None:
    url = server.create("wrong")
    wrong = Migration(number=NEXT, name="wrong", sql="CREATE TABLE extra (n int); CREATE TABLE tasks (n int)")
    for _ in range(2):
        with pytest.raises(asyncpg.DuplicateTableError):
            await migrate(Place(url=url), [*MIGRATIONS, wrong])
    store = await PostgresStore.open(url)
    await add(store)
    await store.close()


async def test_a_schema_of_a_newer_offload_is_left_alone(server: Postgres) -> None:
    url = server.create("newer")
    await migrate(Place(url=url), LONGER)
    with pytest.raises(StoreTooNew, match=f"schema {NEXT + 1}"):
        await PostgresStore.open(url)


async def test_a_node_waits_while_another_migrates(server: Postgres) -> None:
    url = server.create("waits")
    other = await asyncpg.connect(url)
    await other.execute("SELECT pg_advisory_lock($1, 0)", LOCKS)
    migrating = asyncio.create_task(migrate(Place(url=url)))
    done, _ = await asyncio.wait([migrating], timeout=1.0)
    assert not done
    await other.close()
    assert await migrating == [migration.name for migration in MIGRATIONS]
