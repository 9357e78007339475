"""Schedules over HTTP: made, changed, read and deleted; what is refused; whose they are."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from offload import job
from offload.core.catalog import Catalog
from offload.core.keys import KeyScope
from tests.http.key_kit import ask, key_of
from tests.http.kit import add, copy, ping, serving


@job(every="1h")
def sweep() -> None:
    """Clean up."""


CATALOG = Catalog.of_jobs(ping, add, copy, sweep)
WISH: dict[str, Any] = {"job": "add", "input": {"a": 1}, "cron": "30 2 * * *", "timezone": "Asia/Tokyo"}
"""In a place that does not shift its clocks: the nights in which others do would be due at another minute."""


async def test_a_schedule_is_made_read_changed_and_deleted(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        wish = {
            **WISH,
            "catch_up": "all",
            "priority": 3,
            "tags": {"a": "b"},
            "deadline": 60,
            "callback": "http://127.0.0.1:8999/",
        }
        made = await server.client.put("/v1/schedules/nightly", json=wish)
        assert (made.status_code, made.headers["location"]) == (201, "/v1/schedules/nightly")
        found = made.json()
        assert {name: found[name] for name in wish if name != "callback"} == {
            name: wish[name] for name in wish if name != "callback"
        }
        assert found["callback"]["url"] == "http://127.0.0.1:8999/" and found["every"] is None
        assert len(found["next"]) == 5 and all(at[14:16] == "30" for at in found["next"])
        assert (found["last"], found["fired"], found["missed"], found["trouble"]) == (None, 0, 0, None)
        assert (await server.client.get("/v1/schedules/nightly")).json() == found

        spaced = json.dumps(wish, indent=4).encode()
        again = await server.client.put(
            "/v1/schedules/nightly", content=spaced, headers={"content-type": "application/json"}
        )
        assert (again.status_code, again.json()) == (200, found)
        paused = await server.client.put("/v1/schedules/nightly", json={**found, "paused": True})
        assert (paused.status_code, paused.json()["next"], paused.json()["paused"]) == (200, [], True)
        changed = await server.client.put("/v1/schedules/nightly", json={"job": "ping", "every": "90s"})
        assert (changed.json()["every"], changed.json()["cron"], changed.json()["timezone"]) == (90, None, None)
        assert changed.json()["created_at"] == found["created_at"] and changed.json()["tags"] == {}

        assert [each["name"] for each in (await server.client.get("/v1/schedules")).json()["schedules"]] == ["nightly"]
        gone = await server.client.delete("/v1/schedules/nightly")
        assert (gone.status_code, gone.json()["name"]) == (200, "nightly")
        for method in ("GET", "DELETE"):
            missing = await server.client.request(method, "/v1/schedules/nightly")
            assert (missing.status_code, missing.json()["code"]) == (404, "ScheduleDoesNotExist")


async def test_a_due_time_makes_a_task_that_the_schedule_tells_of(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.client.put("/v1/schedules/fast", json={"job": "add", "input": {"a": 41}, "every": 1})
        async with asyncio.timeout(20):
            while (found := (await server.client.get("/v1/schedules/fast")).json())["last"] is None:
                await asyncio.sleep(0.05)
        task = await server.finished(found["last"]["task"])
        assert (task["result"], task["tags"]["schedule"]) == (42, "fast")
        assert task["tags"]["due"] == found["last"]["due_at"]
        listed = (await server.client.get(found["links"]["tasks"])).json()["tasks"]
        assert task["id"] in [each["id"] for each in listed]
        metrics = (await server.client.get("/metrics")).text
        assert 'offload_schedules_fired_total{job_name="add"}' in metrics


@pytest.mark.parametrize(
    ("change", "loc"),
    [
        ({"cron": "0 0 30 2 *"}, ["cron"]),
        ({"cron": "* * *"}, ["cron"]),
        ({"every": 5}, ["cron"]),
        ({"cron": None}, ["cron"]),
        ({"timezone": "Mars/Olympus"}, ["timezone"]),
        ({"catch_up": "some"}, ["catch_up"]),
        ({"paused": "yes"}, ["paused"]),
        ({"job": "nosuch"}, ["job"]),
        ({"job": 5}, ["job"]),
        ({"input": {}}, ["input", "a"]),
        ({"input": {"a": "x"}}, ["input", "a"]),
        ({"input": []}, ["input"]),
        ({"priority": 1000}, ["priority"]),
        ({"tags": {"": "x"}}, ["tags"]),
        ({"delay": 5}, ["delay"]),
        ({"name": "other"}, ["name"]),
        ({"job": "copy", "input": {"image": "data:text/plain,hello"}}, ["input", "image"]),
        ({"job": "copy", "input": {"image": "ftp://example.com/"}}, ["input", "image"]),
    ],
)
async def test_a_wrong_schedule_is_refused_and_says_where(
    tmp_path: Path, change: dict[str, Any], loc: list[str]
) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        answer = await server.client.put("/v1/schedules/x", json={**WISH, **change})
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongSchedule"), answer.text
        assert loc in [mistake["loc"] for mistake in answer.json()["errors"]], answer.text
        assert (await server.client.get("/v1/schedules/x")).status_code == 404


async def test_what_is_no_schedule_at_all_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        put = server.client.put
        for name in ("X", "1x", "x" * 65, "x%20y", "x.y"):
            answer = await put(f"/v1/schedules/{name}", json=WISH)
            assert (answer.status_code, answer.json()["code"]) == (400, "WrongSchedule"), name
        assert (await put("/v1/schedules/x", json=[])).json()["code"] == "WrongSchedule"
        assert (await put("/v1/schedules/x", content=b"{")).json()["code"] == "WrongContentType"
        broken = await put("/v1/schedules/x", content=b"{", headers={"content-type": "application/json"})
        assert broken.json()["code"] == "WrongBody"
        header = await put("/v1/schedules/x", json=WISH, headers={"offload-priority": "3"})
        assert header.json()["code"] == "WrongValue"
        assert (await put("/v1/schedules/x?colour=red", json=WISH)).json()["code"] == "WrongValue"
        refused = await put("/v1/schedules/x", json={**WISH, "callback": "http://169.254.169.254/"})
        assert (refused.status_code, refused.json()["code"]) == (422, "AddressRefused")


async def test_a_file_by_url_is_taken_anew_for_each_task(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        url = "http://127.0.0.1:8999/cat.jpg"
        made = await server.client.put("/v1/schedules/x", json={"job": "copy", "input": {"image": url}, "every": 1})
        assert made.status_code == 201 and made.json()["input"] == {"image": url}
        async with asyncio.timeout(20):
            while (found := (await server.client.get("/v1/schedules/x")).json())["last"] is None:
                await asyncio.sleep(0.05)
        await server.client.delete("/v1/schedules/x")
        task = (await server.client.get(f"/v1/tasks/{found['last']['task']}")).json()
        assert task["input"]["image"]["source"] == url


async def test_a_declared_schedule_is_changed_in_the_code_and_paused_here(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        found = (await server.client.get("/v1/schedules/sweep")).json()
        assert (found["declared"], found["every"], found["job"]) == (True, 3600, "sweep")
        paused = await server.client.put("/v1/schedules/sweep", json={**found, "paused": True})
        assert (paused.status_code, paused.json()["paused"], paused.json()["declared"]) == (200, True, True)
        changed = await server.client.put("/v1/schedules/sweep", json={**found, "every": 60})
        assert (changed.status_code, changed.json()["code"]) == (409, "ScheduleIsDeclared")
        gone = await server.client.delete("/v1/schedules/sweep")
        assert (gone.status_code, gone.json()["code"]) == (409, "ScheduleIsDeclared")


async def test_pages_hold_each_schedule_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        names = [f"s{n:02}" for n in range(25)]
        for name in names:
            await server.client.put(f"/v1/schedules/{name}", json=WISH)
        seen: list[str] = []
        query = "?limit=10"
        while True:
            page = (await server.client.get(f"/v1/schedules{query}")).json()
            seen += [each["name"] for each in page["schedules"]]
            if page["next"] is None:
                break
            query = f"?limit=10&cursor={page['next']}"
        assert seen == names
        for wrong in ("cursor=%21", "cursor=AAAA", "limit=0", "colour=red"):
            assert (await server.client.get(f"/v1/schedules?{wrong}")).json()["code"] == "WrongValue"


async def test_everybody_has_names_of_their_own_and_sees_no_others(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        ops = await key_of(server, "ops", KeyScope.ADMIN)
        path = "/v1/schedules/nightly"
        assert (await ask(server, anna, "PUT", path, {**WISH, "input": {"a": 1}})).status_code == 201
        for method in ("GET", "DELETE"):
            assert (await ask(server, bert, method, path)).status_code == 404
            assert (await ask(server, bert, method, path + "?owner=anna")).status_code == 404
            assert (await ask(server, bert, method, "/v1/schedules/sweep")).status_code == 404
        assert (await ask(server, bert, "PUT", path + "?owner=anna", WISH)).status_code == 404
        assert (await ask(server, bert, "PUT", path, {**WISH, "input": {"a": 2}})).status_code == 201
        mine = (await ask(server, anna, "GET", path)).json()
        assert mine["input"] == {"a": 1} and "owner" not in mine
        assert [each["name"] for each in (await ask(server, anna, "GET", "/v1/schedules")).json()["schedules"]] == [
            "nightly"
        ]

        everything = (await ask(server, ops, "GET", "/v1/schedules")).json()["schedules"]
        assert [(each["name"], each["owner"]) for each in everything] == [
            ("nightly", "anna"),
            ("nightly", "bert"),
            ("sweep", ""),
        ]
        assert (await ask(server, ops, "GET", path)).status_code == 404
        assert (await ask(server, ops, "GET", path + "?owner=bert")).json()["input"] == {"a": 2}
        assert (await ask(server, ops, "GET", "/v1/schedules/sweep")).json()["declared"]
        assert (await ask(server, ops, "DELETE", path + "?owner=bert")).status_code == 200
        assert (await ask(server, bert, "GET", path)).status_code == 404


async def test_a_key_needs_the_scope(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        reader = await key_of(server, "anna", KeyScope.READ)
        writer = await key_of(server, "anna", KeyScope.SUBMIT)
        path = "/v1/schedules/nightly"
        assert (await ask(server, reader, "PUT", path, WISH)).status_code == 403
        assert (await ask(server, writer, "PUT", path, WISH)).status_code == 201
        assert (await ask(server, writer, "GET", path)).status_code == 403
        assert (await ask(server, reader, "GET", path)).status_code == 200
        assert (await ask(server, reader, "DELETE", path)).status_code == 403
        assert (await ask(server, writer, "DELETE", path)).status_code == 200
        assert (await server.client.get(path)).status_code == 401


async def test_tasks_of_a_schedule_are_their_owners(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        await ask(server, anna, "PUT", "/v1/schedules/fast", {"job": "ping", "every": 1})
        async with asyncio.timeout(20):
            while (found := (await ask(server, anna, "GET", "/v1/schedules/fast")).json())["last"] is None:
                await asyncio.sleep(0.05)
        task = f"/v1/tasks/{found['last']['task']}"
        assert (await ask(server, anna, "GET", task)).status_code == 200
        assert (await ask(server, bert, "GET", task)).status_code == 404
