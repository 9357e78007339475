"""Creating, reading, steering and finding tasks."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from offload.http.config import HttpConfig
from tests.http.kit import Server, gate_of, serving

UNKNOWN = str(uuid.uuid4())
OF_A_TASK = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/run"),
    ("GET", "/status"),
    ("GET", "/result"),
    ("GET", "/input/image"),
    ("GET", "/events"),
    ("GET", "/logs"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
]


@pytest.mark.parametrize(("method", "below"), OF_A_TASK)
async def test_an_unknown_task_is_404_and_a_malformed_id_400(tmp_path: Path, method: str, below: str) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.request(method, f"/v1/tasks/{UNKNOWN}{below}")
        assert (answer.status_code, answer.json()["code"]) == (404, "TaskDoesNotExist")
        for bad in (
            "x",
            UNKNOWN[:-1],
            UNKNOWN + "0",
            UNKNOWN.replace("-", ""),
            "{" + UNKNOWN + "}",
            "١" * 8 + UNKNOWN[8:],
        ):
            answer = await server.client.request(method, f"/v1/tasks/{bad}{below}")
            assert (answer.status_code, answer.json()["code"]) == (400, "WrongTaskIdFormat"), bad


async def test_a_created_task_runs_when_it_is_told_to(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/tasks", json={"job": "add", "input": {"a": 1}})
        task = answer.json()
        assert (answer.status_code, task["status"], task["queued_at"]) == (201, "CREATED", None)
        assert answer.headers["location"] == f"/v1/tasks/{task['id']}"
        assert (await server.client.get(task["links"]["result"])).status_code == 202
        ran = await server.client.post(f"/v1/tasks/{task['id']}/run")
        assert ran.status_code == 202 and ran.json()["queued_at"] is not None
        assert (await server.finished(task["id"]))["result"] == 2
        again = await server.client.post(f"/v1/tasks/{task['id']}/run")
        assert (again.status_code, again.json()["status"]) == (200, "DONE")


async def test_a_creation_can_run_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post(
            "/v1/tasks",
            json={"job": "add", "input": {"a": 1}, "run": True, "priority": 3, "deadline": 60, "tags": {"a": "b"}},
        )
        assert (answer.status_code, answer.json()["priority"], answer.json()["tags"]) == (201, 3, {"a": "b"})
        assert (await server.finished(answer.json()["id"]))["status"] == "DONE"


async def test_run_is_refused_for_what_was_canceled_or_deleted(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = (await server.client.post("/v1/tasks", json={"job": "ping"})).json()
        await server.client.post(task["links"]["cancel"])
        answer = await server.client.post(f"/v1/tasks/{task['id']}/run")
        assert (answer.status_code, answer.json()["code"]) == (409, "TaskIsCanceled")
        await server.client.delete(task["links"]["self"])
        answer = await server.client.post(f"/v1/tasks/{task['id']}/run")
        assert (answer.status_code, answer.json()["code"]) == (409, "TaskIsDeleted")


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, ["job"]),
        ({"job": 7}, ["job"]),
        ({"job": "nosuch"}, ["job"]),
        ({"job": "ping", "nosuch": 1, "run": "yes"}, ["nosuch", "run"]),
        ({"job": "ping", "input": []}, ["input"]),
        ({"job": "ping", "input": None}, ["input"]),
        ({"job": "ping", "priority": 101, "delay": -1, "deadline": "9"}, ["deadline", "delay", "priority"]),
        ({"job": "ping", "priority": True, "tags": {"a": 1}}, ["priority", "tags"]),
        ({"job": "ping", "tags": {"a\x00": "b"}}, ["tags"]),
        ({"job": "ping", "tags": {"a": "b\n"}}, ["tags"]),
        ({"job": "ping", "tags": {"": "b"}}, ["tags"]),
        ({"job": "ping", "tags": {str(n): "" for n in range(33)}}, ["tags"]),
        ({"job": "ping", "run_at": "soon"}, ["run_at"]),
        ({"job": "ping", "run_at": "2055-01-01T00:00:00Z", "delay": 1}, ["run_at"]),
    ],
)
async def test_a_body_that_describes_no_task_is_400_with_every_mistake(
    tmp_path: Path, body: dict[str, Any], places: list[str]
) -> None:
    async with serving(tmp_path) as server:
        for answer in (
            await server.client.post("/v1/tasks", json=body),
            await server.client.put(f"/v1/tasks/{UNKNOWN}", json=body),
        ):
            assert (answer.status_code, answer.json()["code"]) == (400, "WrongJobDefinitionValue"), answer.text
            assert sorted(mistake["loc"][0] for mistake in answer.json()["errors"]) == places
        assert not server.memory._rows


async def test_a_creation_is_json_and_its_input_is_checked(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        post = server.client.post
        assert (await post("/v1/tasks", json={"job": "add", "input": {}})).json()["code"] == "WrongInput"
        assert (await post("/v1/tasks", content=b"{}")).status_code == 415
        kind = {"content-type": "application/json"}
        for content, code in (
            (b"{", "WrongBody"),
            (b"[]", "WrongJobDefinitionValue"),
            (b'{"job": "ping", "job": "add"}', "WrongBody"),
            (b'{"job": "ping", "input": ' + b'{"a":' * 100 + b"1" + b"}" * 101, "WrongBody"),
        ):
            answer = await post("/v1/tasks", content=content, headers=kind)
            assert (answer.status_code, answer.json()["code"]) == (400, code)
        option = await post("/v1/tasks", json={"job": "ping"}, headers={"offload-priority": "1"})
        assert (option.status_code, option.json()["code"]) == (400, "WrongValue")


async def test_a_batch_is_made_whole(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        tasks = [
            {"job": "add", "input": {"a": 1}, "run": True},
            {"job": "copy", "input": {"image": "data:image/png,meow"}, "run": True},
            {"job": "ping"},
        ]
        answer = await server.client.post("/v1/tasks/batch", json={"tasks": tasks})
        assert answer.status_code == 201
        made = answer.json()["tasks"]
        assert [task["job"] for task in made] == ["add", "copy", "ping"]
        assert made[2]["status"] == "CREATED"
        assert (await server.finished(made[0]["id"]))["result"] == 2
        await server.finished(made[1]["id"])
        assert (await server.client.get(made[1]["links"]["result"])).content == b"meow"


@pytest.mark.parametrize(
    "bad",
    [
        {"job": "nosuch"},
        {"job": "add", "input": {"a": "x"}},
        {"job": "copy", "input": {"image": "file:nosuch"}},
        {"job": "copy", "input": {"image": "https://10.0.0.1/cat.png"}},
        {"job": "ping", "upload_to": "https://10.0.0.1/there"},
        {"job": "ping", "priority": 1000},
        7,
    ],
)
async def test_a_batch_with_a_bad_one_makes_none_and_names_it(tmp_path: Path, bad: object) -> None:
    async with serving(tmp_path) as server:
        good = {"job": "copy", "input": {"image": "data:,x"}, "run": True}
        answer = await server.client.post("/v1/tasks/batch", json={"tasks": [good, bad, good]})
        code, index = answer.json()["code"], answer.json()["index"]
        refused = code in ("NotAvailable", "AddressRefused")
        assert (answer.status_code, index) == (422 if refused else 400, 1), answer.text
        assert refused or code in ("WrongJobDefinitionValue", "WrongInput")
        assert not server.memory._rows and not server.blobs()


@pytest.mark.parametrize("body", [{}, {"tasks": []}, {"tasks": {}}, {"tasks": [], "more": 1}, {"tasks": [{}] * 4}])
async def test_a_batch_has_one_to_so_many_tasks(tmp_path: Path, body: dict[str, Any]) -> None:
    async with serving(tmp_path, config=HttpConfig(batch_max=3)) as server:
        answer = await server.client.post("/v1/tasks/batch", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongJobDefinitionValue")


async def test_an_unchanged_task_is_304(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.submit("hold", {"gate": "etag"})
        await _until(server, task["id"], "RUNNING")
        for url in (task["links"]["self"], task["links"]["status"]):
            first = await server.client.get(url)
            etag = first.headers["etag"]
            again = await server.client.get(url, headers={"if-none-match": etag})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
            assert int(again.headers["retry-after"]) >= 1
            assert (await server.client.get(url, headers={"if-none-match": '"x"'})).status_code == 200
        gate_of("etag").set()
        await server.finished(task["id"])
        done = await server.client.get(task["links"]["self"], headers={"if-none-match": etag})
        assert (done.status_code, done.headers["etag"] != etag, "retry-after" in done.headers) == (200, True, False)


async def test_a_read_can_wait_for_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.submit("hold", {"gate": "wait"})
        waits = [
            server.client.get(task["links"]["self"], headers={"prefer": "wait=30"}),
            server.client.get(task["links"]["self"] + "?wait=30"),
            server.client.get(task["links"]["status"] + "?wait=30"),
            server.client.get(task["links"]["result"] + "?wait=30"),
        ]
        asking = [asyncio.create_task(each) for each in waits]
        async with asyncio.timeout(20):
            while server.engine.parts.hub.watchers() < len(asking):
                await asyncio.sleep(0.01)
        gate_of("wait").set()
        by_header, by_query, state, result = await asyncio.gather(*asking)
        assert by_header.headers["preference-applied"] == "wait=30"
        assert by_header.json()["status"] == by_query.json()["status"] == state.json()["status"] == "DONE"
        assert result.json() == "wait"
        short = await server.submit("hold", {"gate": "short"})
        assert (await server.client.get(short["links"]["self"] + "?wait=0.05")).json()["status"] in (
            "QUEUED",
            "RUNNING",
        )


@pytest.mark.parametrize("query", ["wait=soon", "wait=-1", "wait=", "nosuch=1", "wait=1_0"])
async def test_a_wrong_wait_is_400(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.get(f"/v1/tasks/{UNKNOWN}?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongValue")


async def test_the_state_is_the_little_that_changes(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.submit("ping")
        await server.finished(task["id"])
        answer = await server.client.get(task["links"]["status"])
        assert answer.json() == {"id": task["id"], "status": "DONE", "reason": None, "progress": None}


async def test_a_waiting_task_tells_its_place_in_line(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.client.post("/v1/queues/default/pause")
        tasks = [await server.submit("ping") for _ in range(3)]
        places = [(await server.client.get(task["links"]["self"])).json()["position"] for task in tasks]
        assert places == [0, 1, 2]


async def test_cancel_before_and_while_it_runs(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        waiting = await server.submit("ping", {}, offload_delay="600")
        answer = await server.client.post(waiting["links"]["cancel"])
        assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (200, "CANCELED", "canceled")
        running = await server.submit("hold", {"gate": "cancel"})
        await _until(server, running["id"], "RUNNING")
        answer = await server.client.post(running["links"]["cancel"])
        assert (answer.status_code, answer.json()["status"]) == (202, "RUNNING")
        assert (await server.finished(running["id"]))["status"] == "CANCELED"
        gate_of("cancel").set()
        done = await server.submit("ping")
        await server.finished(done["id"])
        answer = await server.client.post(done["links"]["cancel"])
        assert (answer.status_code, answer.json()["code"]) == (409, "TaskIsFinal")


async def test_retry_gives_one_more_attempt_to_what_failed_or_was_canceled(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        failed = await server.submit("fail", {"message": "x"})
        assert (await server.finished(failed["id"]))["attempt"] == 1
        answer = await server.client.post(f"/v1/tasks/{failed['id']}/retry")
        assert (answer.status_code, answer.json()["status"]) == (202, "QUEUED")
        assert (await server.finished(failed["id"]))["attempt"] == 2
        done = await server.submit("ping")
        await server.finished(done["id"])
        answer = await server.client.post(f"/v1/tasks/{done['id']}/retry")
        assert (answer.status_code, answer.json()["code"]) == (409, "TaskIsFinal")
        waiting = await server.submit("ping", {}, offload_delay="600")
        answer = await server.client.post(f"/v1/tasks/{waiting['id']}/retry")
        assert (answer.status_code, answer.json()["code"]) == (409, "TaskIsNotFinal")


async def test_delete_leaves_only_a_tombstone(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.submit("copy", {"image": "data:image/png,meow"})
        await server.finished(task["id"])
        for _ in range(2):
            answer = await server.client.delete(task["links"]["self"])
            assert (answer.status_code, answer.json()) == (200, {"id": task["id"], "status": "DELETED"})
        left = (await server.client.get(task["links"]["self"])).json()
        assert (left["status"], left["input"], left["result_size"], left["tags"]) == ("DELETED", {}, None, {})
        assert server.blobs() == []


async def test_a_request_that_takes_no_body_refuses_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.submit("ping", {}, offload_delay="600")
        for content, status in ((b"{}", 200), (b'{"force": true}', 400), (b"x" * 5000, 413)):
            answer = await server.client.post(task["links"]["cancel"], content=content)
            assert answer.status_code == status


async def test_pages_are_newest_first_and_whole(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        made = [(await server.submit("add", {"a": n}, offload_delay="60"))["id"] for n in range(7)]
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await server.client.get(f"/v1/tasks?limit=3{f'&cursor={cursor}' if cursor else ''}")).json()
            assert len(page["tasks"]) == 3 or page["next"] is None
            seen += [task["id"] for task in page["tasks"]]
            cursor = page["next"]
            if len(seen) == 3:
                await server.submit("ping", {}, offload_delay="60")  # what is new does not shift a page
        assert seen == made[::-1]


async def test_tasks_are_found_by_what_is_asked(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        a = await server.submit("ping", {}, offload_delay="60", offload_tags="who=me,what=a b")
        b = await server.submit("add", {"a": 1}, offload_delay="60", offload_tags="who=you")
        await server.client.post(b["links"]["cancel"])
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+", "%2B")
        for query, found in (
            ("job=ping", [a]),
            ("job=add", [b]),
            ("queue=default", [b, a]),
            ("queue=images", []),
            ("status=CANCELED", [b]),
            ("status=QUEUED,CANCELED", [b, a]),
            ("status=QUEUED&status=CANCELED", [b, a]),
            ("tag.who=me", [a]),
            ("tag.who=me&tag.what=a%20b", [a]),
            ("tag.who=me&tag.what=x", []),
            (f"created_before={a['created_at']}", []),
            (f"created_after={later}", []),
            (f"created_before={later}", [b, a]),
        ):
            answer = await server.client.get(f"/v1/tasks?{query}")
            assert [task["id"] for task in answer.json()["tasks"]] == [task["id"] for task in found], query


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=²",
        "cursor=x",
        "cursor=",
        "cursor=////////////",
        "status=BUSY",
        "status=",
        "created_after=now",
        "nosuch=1",
        "job=a&job=b",
        "job=%00",
        "tag.a=%0a",
        "created_after=2020-01-01T00:00:00",
    ],
)
async def test_a_wrong_question_is_400(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.get(f"/v1/tasks?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongValue"), answer.text


async def test_the_events_of_a_finished_task_are_told_from_any_number_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.submit("ping")
        await _until(server, task["id"], "DONE")
        events = task["links"]["events"]
        whole = await server.client.get(events)
        assert whole.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        ids = [f"id: {n}" for n in range(1, whole.text.count("\nevent: ") + 1)]
        assert [line for line in whole.text.splitlines() if line.startswith("id")] == ids
        assert '"status":"DONE"' in whole.text.splitlines()[-2]
        rest = await server.client.get(events, headers={"Last-Event-ID": "2"})
        assert whole.text.endswith(rest.text.partition("\n\n")[2])
        wrong = await server.client.get(events, headers={"Last-Event-ID": "x"})
        assert (wrong.status_code, wrong.json()["code"]) == (400, "WrongValue")


async def _until(server: Server, task_id: str, status: str) -> None:
    async with asyncio.timeout(20):
        while (await server.client.get(f"/v1/tasks/{task_id}/status")).json()["status"] != status:
            await asyncio.sleep(0.01)
