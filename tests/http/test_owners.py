"""To everybody but its owner a task does not exist: every route and method; own, foreign, missing and garbage ids."""

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from offload.core.keys import KeyScope
from offload.http.access import NEEDED
from offload.http.app import ROUTES
from tests.http.key_kit import ask, bearer, key_of
from tests.http.kit import Server, serving

TASK = "of a task"
NOBODYS = "tells nothing of any task"
LISTS = "lists what is one's own; tested below"
LENT = "what is lent is its owner's workers' alone; tested in test_leases.py"
OF_SCHEDULES = "only of one's own schedules; tested with them"
BY_ADMIN = "for admins, who see everything"

MATRIX: dict[tuple[str, str], str] = {
    ("GET", "/v1/jobs"): NOBODYS,
    ("GET", "/v1/jobs/{job}"): NOBODYS,
    ("POST", "/v1/jobs/{job}"): LISTS,
    ("GET", "/v1/tasks"): LISTS,
    ("POST", "/v1/tasks"): LISTS,
    ("POST", "/v1/tasks/batch"): LISTS,
    ("GET", "/v1/tasks/{id}"): TASK,
    ("PUT", "/v1/tasks/{id}"): LISTS,
    ("DELETE", "/v1/tasks/{id}"): TASK,
    ("POST", "/v1/tasks/{id}/run"): TASK,
    ("GET", "/v1/tasks/{id}/status"): TASK,
    ("GET", "/v1/tasks/{id}/result"): TASK,
    ("GET", "/v1/tasks/{id}/input/{name}"): TASK,
    ("GET", "/v1/tasks/{id}/result/preview"): TASK,
    ("GET", "/v1/tasks/{id}/input/{name}/preview"): TASK,
    ("GET", "/v1/tasks/{id}/events"): TASK,
    ("GET", "/v1/tasks/{id}/logs"): TASK,
    ("POST", "/v1/tasks/{id}/links"): TASK,
    ("POST", "/v1/tasks/{id}/cancel"): TASK,
    ("POST", "/v1/tasks/{id}/retry"): TASK,
    ("POST", "/v1/files"): LISTS,
    ("POST", "/v1/files/links"): LISTS,
    ("POST", "/v1/files/{id}/confirm"): LISTS,
    ("GET", "/v1/queues"): LISTS,
    ("GET", "/v1/queues/{queue}"): LISTS,
    ("POST", "/v1/queues/{queue}/pause"): BY_ADMIN,
    ("POST", "/v1/queues/{queue}/resume"): BY_ADMIN,
    ("GET", "/v1/keys"): BY_ADMIN,
    ("POST", "/v1/keys"): BY_ADMIN,
    ("DELETE", "/v1/keys/{id}"): BY_ADMIN,
    ("GET", "/metrics"): BY_ADMIN,
    ("GET", "/v1/callbacks"): LISTS,
    ("POST", "/v1/callbacks/{id}/replay"): LISTS,
    ("POST", "/v1/callbacks/test"): NOBODYS,
    ("GET", "/v1/callbacks/secret"): LISTS,
    ("POST", "/v1/callbacks/secret/rotate"): LISTS,
    ("GET", "/v1/schedules"): OF_SCHEDULES,
    ("GET", "/v1/schedules/{name}"): OF_SCHEDULES,
    ("PUT", "/v1/schedules/{name}"): OF_SCHEDULES,
    ("DELETE", "/v1/schedules/{name}"): OF_SCHEDULES,
    ("POST", "/v1/leases"): LENT,
    ("POST", "/v1/leases/{lease}/heartbeat"): LENT,
    ("POST", "/v1/leases/{lease}/log"): LENT,
    ("POST", "/v1/leases/{lease}/done"): LENT,
    ("POST", "/v1/leases/{lease}/failed"): LENT,
    ("GET", "/v1/leases/{link}/input/{name}"): LENT,
    ("PUT", "/v1/leases/{link}/result"): LENT,
    ("POST", "/v1/leases/{link}/result/failed"): LENT,
    ("GET", "/v1/session"): NOBODYS,
    ("POST", "/v1/session"): NOBODYS,
    ("DELETE", "/v1/session"): NOBODYS,
    ("GET", "/v1/overview"): LISTS,
    ("GET", "/v1/overview/events"): LISTS,
    ("GET", "/v1/promises"): NOBODYS,
    ("GET", "/v1/nodes"): BY_ADMIN,
    ("GET", "/healthz"): NOBODYS,
    ("GET", "/readyz"): NOBODYS,
    ("GET", "/openapi.json"): NOBODYS,
    ("GET", "/"): NOBODYS,
    ("GET", "/docs"): NOBODYS,
    ("GET", "/docs/{name}"): NOBODYS,
    ("GET", "/dashboard/{name}"): NOBODYS,
    ("GET", "/client.js"): NOBODYS,
    ("GET", "/client.d.ts"): NOBODYS,
    ("GET", "/client/{name}"): NOBODYS,
}
OF_TASKS = sorted(each for each, kind in MATRIX.items() if kind == TASK)
REFUSALS_OF_OWN = {"TaskIsFinal", "NoPreview"}
"""Being told that it has ended already is being told that it exists."""


def every_route() -> set[tuple[str, str]]:
    return {(method, path) for path, methods in ROUTES.items() for method in methods}


def test_every_route_is_in_the_matrix_and_says_which_scope_it_needs() -> None:
    assert set(MATRIX) == every_route(), "say here what a new route tells of other owners' tasks"
    assert {(method, path) for path, methods in NEEDED.items() for method in methods} == every_route()


def seen(answer: httpx2.Response, *names: str) -> tuple[Any, ...]:
    """Return an answer byte for byte, but for the id that was asked for and the request's own."""
    text = answer.text
    for name in names:
        text = text.replace(name, "NAME")
    headers = sorted((key, value) for key, value in answer.headers.items() if key != "offload-request-id")
    return answer.status_code, text, headers


async def task_with_a_file(server: Server, token: str) -> str:
    headers = {**bearer(token), "content-type": "image/png", "prefer": "wait=30"}
    made = await server.client.post("/v1/jobs/copy", content=b"image", headers=headers)
    assert made.status_code == 200
    return str(made.headers["location"].rpartition("/")[2])


@pytest.mark.parametrize(("method", "route"), OF_TASKS)
async def test_a_foreign_task_is_a_missing_one(tmp_path: Path, method: str, route: str) -> None:
    async with serving(tmp_path) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        own, foreign = await task_with_a_file(server, anna), await task_with_a_file(server, bert)
        before = (await ask(server, bert, "GET", f"/v1/tasks/{foreign}")).json()
        missing = str(uuid4())

        async def answer(task_id: str, verb: str, query: str = "") -> httpx2.Response:
            path = route.replace("{id}", task_id).replace("{name}", "image")
            return await ask(server, anna, verb, path + query)

        for verb, query in [(method, "")] + ([("HEAD", ""), ("GET", "?wait=0.01")] if method == "GET" else []):
            there, nowhere = await answer(foreign, verb, query), await answer(missing, verb, query)
            assert seen(there, foreign) == seen(nowhere, missing)
            assert nowhere.status_code in (404, 400 if query else 404)
            assert (await answer("garbage", verb, query)).status_code == 400
        mine = await answer(own, method)
        assert mine.status_code < 400 or mine.json()["code"] in REFUSALS_OF_OWN, mine.text
        assert (await ask(server, bert, "GET", f"/v1/tasks/{foreign}")).json() == before


async def test_nothing_of_others_is_listed_whatever_is_asked(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        admin = await key_of(server, "ops", KeyScope.ADMIN)
        tasks = {"tasks": [{"job": "ping", "tags": {"who": "all"}}] * 3}
        for token in (anna, bert):
            assert (await ask(server, token, "POST", "/v1/tasks/batch", tasks)).status_code == 201
        pages = {token: (await ask(server, token, "GET", "/v1/tasks?limit=2")).json() for token in (anna, bert)}
        cursor = pages[bert]["next"]
        of_anna = {task["id"] for task in (await ask(server, anna, "GET", "/v1/tasks")).json()["tasks"]}
        assert len(of_anna) == 3
        for query in ("tag.who=all", "status=CREATED", "job=ping", "queue=default", f"cursor={cursor}"):
            found = (await ask(server, anna, "GET", f"/v1/tasks?{query}")).json()["tasks"]
            assert {task["id"] for task in found} <= of_anna, query
            assert len(found) == 3, query
        assert len((await ask(server, admin, "GET", "/v1/tasks")).json()["tasks"]) == 6


async def test_an_idempotency_key_is_its_owners(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        made = []
        for token, body in ((anna, {"a": 1}), (bert, {"a": 2}), (anna, {"a": 1})):
            headers = {**bearer(token), "idempotency-key": "one"}
            made.append(await server.client.post("/v1/jobs/add", json=body, headers=headers))
        assert [answer.status_code for answer in made] == [202, 202, 202]
        assert made[0].json()["id"] == made[2].json()["id"] != made[1].json()["id"]


async def test_a_file_is_its_owners(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        headers = {**bearer(bert), "content-type": "image/png"}
        foreign = (await server.client.post("/v1/files", content=b"secret", headers=headers)).json()["id"]
        missing = str(uuid4())
        answers = [
            await ask(server, anna, "POST", "/v1/jobs/copy", {"image": f"file:{name}"}) for name in (foreign, missing)
        ]
        assert answers[0].status_code == 422
        assert seen(answers[0], foreign) == seen(answers[1], missing)
        assert (await ask(server, bert, "POST", "/v1/jobs/copy", {"image": f"file:{foreign}"})).status_code == 202


async def test_callbacks_and_what_signs_them_are_their_owners(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        body = {"job": "ping", "run": True, "callback": "https://example.org/told"}
        task = (await ask(server, bert, "POST", "/v1/tasks", body)).json()["id"]
        assert (await ask(server, bert, "GET", f"/v1/tasks/{task}?wait=30")).json()["status"] == "DONE"
        (told,) = (await ask(server, bert, "GET", "/v1/callbacks")).json()["callbacks"]
        assert (await ask(server, anna, "GET", "/v1/callbacks")).json()["callbacks"] == []
        missing = str(uuid4())
        foreign = [await ask(server, anna, "GET", f"/v1/callbacks?task={each}") for each in (task, missing)]
        assert foreign[0].status_code == 404 and seen(foreign[0], task) == seen(foreign[1], missing)
        nosuch = told["id"][::-1]
        replays = [await ask(server, anna, "POST", f"/v1/callbacks/{each}/replay") for each in (told["id"], nosuch)]
        assert replays[0].status_code == 404 and seen(replays[0], told["id"]) == seen(replays[1], nosuch)
        assert (await ask(server, bert, "POST", f"/v1/callbacks/{told['id']}/replay")).status_code == 202
        secrets = [(await ask(server, token, "GET", "/v1/callbacks/secret")).json()["secret"] for token in (anna, bert)]
        assert secrets[0] != secrets[1]
        assert (await ask(server, anna, "POST", "/v1/callbacks/secret/rotate")).status_code == 200
        assert (await ask(server, bert, "GET", "/v1/callbacks/secret")).json()["secret"] == secrets[1]


async def test_an_id_that_another_owner_took_is_taken_and_no_more_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        body = {"job": "add", "input": {"a": 1}}
        taken = str(uuid4())
        assert (await ask(server, bert, "PUT", f"/v1/tasks/{taken}", body)).status_code == 201
        same = await ask(server, anna, "PUT", f"/v1/tasks/{taken}", body)
        other = await ask(server, anna, "PUT", f"/v1/tasks/{taken}", {"job": "ping"})
        assert seen(same) == seen(other) and same.json()["code"] == "TaskAlreadyExists"
        assert not re.search("bert|add", same.text)
        assert (await ask(server, anna, "GET", f"/v1/tasks/{taken}")).status_code == 404
