"""How SQLite will run each statement: by an index, without sorting, however large the table is."""

import itertools
import re
from collections.abc import Iterator
from types import ModuleType

import apsw
import msgspec
import pytest

from offload.core.task import Scope, Status
from offload.ports import Filter
from offload.stores.sqlite import claims, counts, deliveries, delivery_rows, purge, reads, schedules
from offload.stores.sqlite.file import MIGRATIONS

NAMED = {
    "claims.LINE": "tasks_line",
    "claims.LINE_OF_OWNER": "tasks_line_owned",
    "claims.LINE_OF_NOBODY": "tasks_line",
    "claims.ENTER": "tasks_later",
    "claims.LATER": "tasks_later",
    "claims.TAKEN": "INTEGER PRIMARY KEY",
    "reads.GET": "sqlite_autoindex_tasks_1",
    "reads.GET_BY_KEY": "INTEGER PRIMARY KEY",
    "reads.LEASES_ENDED": "tasks_leased",
    "reads.DEADLINES_PASSED": "tasks_deadline",
    "reads.NEXT_LATER": "tasks_later",
    "reads.MANY_DUE": "tasks_later",
    "reads.NEXT_DEADLINE": "tasks_deadline",
    "reads.AHEAD": "tasks_line",
    "reads.HEAD_OF_LINE": "tasks_line",
    "reads.EVENTS": "PRIMARY KEY",
    "purge.EXPIRED": "tasks_expiring",
    "purge.ENDED": "tasks_ended",
    "purge.OLD_KEYS": "idempotency_age",
    "purge.OLD_FILES": "files_age",
    "purge.IDLE_HOSTS": "callback_hosts_idle",
    "deliveries.ENDED": "deliveries_leased",
    "deliveries.HOSTS": "callback_hosts_line",
    "deliveries.OF_HOST": "deliveries_line",
    "deliveries.FIRST": "deliveries_line",
    "deliveries.NEXT_HOST": "callback_hosts_line",
    "deliveries.NEXT_LEASE": "deliveries_leased",
    "deliveries.SETTLE": "sqlite_autoindex_deliveries_1",
    "deliveries.AGAIN": "sqlite_autoindex_deliveries_1",
    "deliveries.BY_ID": "sqlite_autoindex_deliveries_1",
    "deliveries.FAILING": "callback_hosts_failing",
    "schedules.GET": "sqlite_autoindex_schedules_1",
    "schedules.FIND": "sqlite_autoindex_schedules_1",
    "schedules.FIND_OWN": "schedules_owned",
    "schedules.DELETE": "sqlite_autoindex_schedules_1",
    "schedules.DUE": "schedules_due",
    "schedules.NEXT": "schedules_due",
    "schedules.CHANGE": "sqlite_autoindex_schedules_1",
    "schedules.STANDS": "sqlite_autoindex_schedules_1",
    "delivery_rows.PROGRESS_WAITS": "deliveries_of_task",
    "delivery_rows.FORGET_PROGRESS": "deliveries_of_task",
}


@pytest.fixture(scope="module")
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    for migration in MIGRATIONS:
        list(connection.execute(migration.sql))
    yield connection
    connection.close()


def plan(connection: apsw.Connection, sql: str) -> str:
    explained = f"EXPLAIN QUERY PLAN {sql.replace('@keys', '?, ?')}"
    names = re.findall(r":(\w+)", explained)
    bound = dict.fromkeys(names, 1) if names else (1,) * explained.count("?")
    return "\n".join(str(row[3]) for row in connection.execute(explained, bound))


def statements(*modules: ModuleType) -> Iterator[tuple[str, str]]:
    for module in modules:
        for name, value in vars(module).items():
            for sql in value if isinstance(value, tuple) else (value,):
                if name.isupper() and isinstance(sql, str) and re.match(r"\s*(SELECT|UPDATE|DELETE)", sql):
                    yield f"{module.__name__.rpartition('.')[2]}.{name}", sql


STATEMENTS = list(statements(claims, deliveries, delivery_rows, purge, reads, schedules))


@pytest.mark.parametrize(("name", "sql"), STATEMENTS, ids=[name for name, _ in STATEMENTS])
def test_a_statement_reads_by_its_index_and_sorts_nothing(connection: apsw.Connection, name: str, sql: str) -> None:
    found = plan(connection, sql)
    assert NAMED.get(name, "INDEX" if "DELETE FROM deliveries" in sql else "PRIMARY KEY") in found
    tables = "tasks|payloads|outcomes|events|tags|idempotency|files|deliveries|callback_hosts|callback_secrets|[tpod]"
    assert not re.search(rf"SCAN ({tables})\b", found), found
    assert "TEMP B-TREE" not in found


def test_every_named_index_is_used_by_a_statement_that_exists() -> None:
    assert NAMED.keys() <= {name for name, _ in STATEMENTS}


LISTINGS = list(
    itertools.product(
        (Scope(), Scope(owner="ann")),
        (Filter(), Filter(job="resize"), Filter(queue="images"), Filter(tags={"a": "b", "c": "d"})),
        ((), (Status.DONE,), (Status.QUEUED, Status.FAILED, Status.DONE)),
    )
)


@pytest.mark.parametrize(("scope", "wanted", "statuses"), LISTINGS)
def test_a_listing_walks_an_index_from_the_newest_and_sorts_nothing(
    connection: apsw.Connection, scope: Scope, wanted: Filter, statuses: tuple[Status, ...]
) -> None:
    sql, _ = reads.found_keys(scope, msgspec.structs.replace(wanted, statuses=statuses, before_key=5))
    found = plan(connection, sql)
    assert not re.search(r"SCAN f\b", found), found
    assert "TEMP B-TREE" not in found, found


def test_counting_at_the_start_reads_only_what_waits_or_runs(connection: apsw.Connection) -> None:
    assert "tasks_by_status (status=?)" in plan(connection, counts.WAITING_AND_RUNNING)
