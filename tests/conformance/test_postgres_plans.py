"""How PostgreSQL runs each statement: by an index, without sorting a line, however large the table is by then."""

import json
from typing import Any

import pytest

from offload.core.task import Scope, Status
from offload.ports import Filter
from offload.stores.postgres import batch, claims, deliveries, delivery_rows, keys, purge, reads
from offload.stores.postgres.sessions import Place, connect
from tests.conformance.postgres import Databases

NAMED: dict[str, tuple[str, list[Any], str]] = {
    "claim": (claims.LINE, ["q", "j", 1.0, 8], "tasks_line"),
    "claim of an owner": (claims.LINE_OF_OWNER, ["q", "j", 1.0, 8, "ann"], "tasks_line_owned"),
    "claim of several jobs": (claims.HEADS, ["q", ["i", "j"], 1.0, 8], "tasks_line"),
    "enter the line": (claims.ENTER, [1.0, 100], "tasks_later"),
    "lock heads": (batch.HEADS, [[1, 2]], "tasks_pkey"),
    "known ids": (batch.KNOWN_IDS, [["a"]], "requests_id_key"),
    "known keys": (batch.KNOWN_KEYS, [["o"], ["k"]], "idempotency_pkey"),
    "get": (reads.GET, ["a"], "requests_id_key"),
    "overdue": (reads.OVERDUE, [1.0, 10], "tasks_running"),
    "overdue deadlines": (reads.OVERDUE, [1.0, 10], "tasks_deadline"),
    "next due": (reads.NEXT_DUE, [1.0, 10], "tasks_later"),
    "next deadline": (reads.NEXT_DUE, [1.0, 10], "tasks_deadline"),
    "position": (reads.AHEAD, ["q", 1.0, 1, 10], "tasks_line"),
    "events": (reads.EVENTS, ["a", 0, None, 10], "events_pkey"),
    "expired": (purge.EXPIRED, [1.0, 10], "tasks_expiring"),
    "ended": (purge.ENDED, [1.0, 10], "tasks_ended"),
    "old keys": (purge.OLD_KEYS, [1.0, 10], "idempotency_age"),
    "old files": (purge.OLD_FILES, [1.0, 10], "files_age"),
    "ended deliveries": (deliveries.ENDED, [1.0, 10], "deliveries_leased"),
    "hosts": (deliveries.HOSTS, [0, 1.0, 10], "callback_hosts_line"),
    "of hosts": (deliveries.OF_HOSTS, [["h"], [1], 1.0], "deliveries_line"),
    "served hosts": (deliveries.SERVED, [["h"], 1.0], "deliveries_line"),
    "next delivery": (deliveries.NEXT_DUE, [1.0], "callback_hosts_line"),
    "progress that waits": (delivery_rows.PROGRESS_WAITS, [[1]], "deliveries_of_task"),
    "what an owner has": (keys.DEPTHS, ["ann"], "tasks_owned"),
    "what is stored": (keys.STORED, ["ann"], "tasks_kept"),
}
FOUND = {
    "all": (Scope(), Filter(), "requests_pkey"),
    "of a job": (Scope(), Filter(job="j"), "requests_by_job"),
    "of a queue": (Scope(), Filter(queue="q"), "requests_by_queue"),
    "of an owner": (Scope(owner="ann"), Filter(), "requests_by_owner"),
    "of a state": (Scope(), Filter(statuses=(Status.FAILED,)), "tasks_by_status"),
}


async def plan_of(databases: Databases, sql: str, bound: list[Any]) -> str:
    connection = await connect(Place(url=await databases.untouched()))
    undone = connection.transaction()
    await undone.start()
    try:
        # once the server has analysed an empty table it takes it for one of a single row, where any plan is as good;
        # what it analyses meanwhile cannot be seen in here
        await connection.execute(
            "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relnamespace = 'offload'::regnamespace"
        )
        statement = await connection.prepare(sql)
        return json.dumps(await statement.explain(*bound))
    finally:
        await undone.rollback()
        await connection.close()


@pytest.mark.parametrize("name", NAMED)
async def test_a_statement_finds_its_rows_by_the_index_that_is_meant_for_it(postgres: Databases, name: str) -> None:
    sql, bound, index = NAMED[name]
    plan = await plan_of(postgres, sql, bound)
    assert f'"Index Name": "{index}"' in plan, plan
    assert '"Node Type": "Bitmap' not in plan, plan


async def test_the_line_is_walked_and_never_sorted(postgres: Databases) -> None:
    for sql, bound in ((claims.LINE, ["q", "j", 1.0, 8]), (claims.LINE_OF_OWNER, ["q", "j", 1.0, 8, "ann"])):
        assert "Sort" not in await plan_of(postgres, sql, bound)


@pytest.mark.parametrize("name", FOUND)
async def test_a_listing_walks_the_index_that_leaves_least_to_skip(postgres: Databases, name: str) -> None:
    scope, wanted, index = FOUND[name]
    sql, bound = reads.found_keys(scope, wanted)
    plan = await plan_of(postgres, sql, bound)
    assert f'"Index Name": "{index}"' in plan, plan
