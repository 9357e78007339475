"""Callbacks over HTTP: how they are asked for, their log, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from offload.core.callback import DeliveryState, Try, after_try
from offload.http.config import HttpConfig
from offload.http.openapi import build
from offload.ports.callbacks import Lines, Settlement, Standing
from tests.http.kit import CATALOG, Server, serving

URL = "https://receiver.example/hook?x=1"
UNKNOWN = "8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34"


async def finished(server: Server, **headers: str) -> dict[str, Any]:
    task = await server.submit("ping", **{"offload_callback": URL, **headers})
    return await server.finished(task["id"])


async def settle_one(server: Server, status: int) -> None:
    """Do what the deliverer does with the callback that is first in line."""
    store, now = server.memory.deliveries, server.engine.clock.now()
    ((taken),) = await store.claim(Lines(room={Standing.NEW: 1, Standing.FAILING: 1}), now=now, lease_until=now + 60)
    tried = Try(at=now, latency_seconds=0.25, status_code=status, answer=b"\xffno")
    after = after_try(taken.delivery, tried, chance=0.0)
    await store.settle([Settlement(before=taken.delivery, after=after, worked=False)])


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (URL, {"url": URL, "events": ["done", "failed", "canceled"], "body": "event"}),
        ({"url": URL}, {"url": URL, "events": ["done", "failed", "canceled"], "body": "event"}),
        (
            {"url": URL, "events": ["done", "started", "done"], "body": "result"},
            {"url": URL, "events": ["started", "done"], "body": "result"},
        ),
        (
            {"url": URL, "events": None, "body": None},
            {"url": URL, "events": ["done", "failed", "canceled"], "body": "event"},
        ),
        (None, None),
    ],
)
async def test_a_creation_says_where_to_call_back(tmp_path: Path, given: object, shown: object) -> None:
    async with serving(tmp_path) as server:
        made = await server.client.post("/v1/tasks", json={"job": "ping", "callback": given})
        assert (made.status_code, made.json()["callback"]) == (201, shown)
        read = await server.client.get(made.headers["location"])
        assert read.json()["callback"] == shown


async def test_a_submission_says_it_in_its_header(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        more = {"offload_callback_events": "canceled,progress", "offload_callback_body": "result"}
        task = await server.submit("ping", offload_callback=URL, **more)
        assert task["callback"] == {"url": URL, "events": ["progress", "canceled"], "body": "result"}


@pytest.mark.parametrize(
    "wrong",
    [
        7,
        [],
        {},
        "",
        {"url": ""},
        {"url": 1},
        {"url": URL, "more": 1},
        {"url": URL, "events": []},
        {"url": URL, "events": "done"},
        {"url": URL, "events": ["ended"]},
        {"url": URL, "events": [["done"]]},
        {"url": URL, "body": "all"},
        {"url": URL, "body": ["event"]},
        {"url": "https://a.example/" + "x" * 4096},
    ],
)
async def test_a_callback_that_means_nothing_is_a_mistake_with_its_place(tmp_path: Path, wrong: object) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/tasks", json={"job": "ping", "callback": wrong})
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongJobDefinitionValue"), answer.text
        assert [each["loc"] for each in answer.json()["errors"]] == [["callback"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"offload-callback": ""},
        {"offload-callback": URL, "offload-callback-events": "ended"},
        {"offload-callback": URL, "offload-callback-events": ""},
        {"offload-callback": URL, "offload-callback-body": "all"},
        {"offload-callback-events": "done"},
        {"offload-callback-body": "event"},
    ],
)
async def test_a_wrong_field_is_400_and_makes_nothing(tmp_path: Path, fields: dict[str, str]) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/ping", json={}, headers=fields)
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongValue"), answer.text
        assert not server.memory._rows


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/", "http://10.0.0.1/", "https://u:p@a.example/", "https://a.example:22/"],
)
async def test_a_url_that_is_never_used_is_refused_with_the_reason(tmp_path: Path, url: str) -> None:
    async with serving(tmp_path) as server:
        for answer in (
            await server.client.post("/v1/jobs/ping", json={}, headers={"offload-callback": url}),
            await server.client.post("/v1/tasks", json={"job": "ping", "callback": {"url": url}}),
            await server.client.put(f"/v1/tasks/{UNKNOWN}", json={"job": "ping", "callback": url}),
            await server.client.post("/v1/callbacks/test", json={"url": url}),
        ):
            found = answer.json()
            assert (answer.status_code, found["code"]) == (422, "AddressRefused"), answer.text
            assert len(found["detail"]) > 20


async def test_the_same_key_with_another_callback_is_another_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        fields = {"idempotency-key": "k", "offload-callback": URL}
        assert (await server.client.post("/v1/jobs/ping", json={}, headers=fields)).status_code == 202
        assert (await server.client.post("/v1/jobs/ping", json={}, headers=fields)).headers["idempotency-replayed"]
        other = {**fields, "offload-callback": "https://other.example/"}
        again = await server.client.post("/v1/jobs/ping", json={}, headers=other)
        assert (again.status_code, again.json()["code"]) == (422, "IdempotencyKeyReused")


async def test_the_log_shows_each_callback_and_how_its_last_try_went(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await finished(server)
        (waiting,) = (await server.client.get(f"/v1/callbacks?task={task['id']}")).json()["callbacks"]
        assert (waiting["state"], waiting["tries"], waiting["last"]) == ("PENDING", 0, None)
        assert (waiting["task"], waiting["type"], waiting["url"]) == (task["id"], "task.done", URL)
        assert waiting["due_at"] is not None
        await settle_one(server, 410)
        (settled,) = (await server.client.get("/v1/callbacks?state=GIVEN_UP")).json()["callbacks"]
        assert (settled["id"], settled["state"], settled["due_at"]) == (waiting["id"], "GIVEN_UP", None)
        last = settled["last"]
        assert (last["status_code"], last["error"], last["latency_seconds"]) == (410, None, 0.25)
        assert last["answer"] == "\ufffdno"
        replayed = await server.client.post(f"/v1/callbacks/{waiting['id']}/replay")
        assert (replayed.status_code, replayed.json()["state"]) == (202, "PENDING")
        assert server.memory.deliveries._found[waiting["id"]].state is DeliveryState.PENDING


async def test_the_log_comes_in_pages(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        tasks = [(await finished(server))["id"] for _ in range(5)]
        seen, query = [], "limit=2"
        while query:
            page = (await server.client.get(f"/v1/callbacks?{query}")).json()
            seen += [each["task"] for each in page["callbacks"]]
            query = f"limit=2&cursor={page['next']}" if page["next"] else ""
        assert seen == tasks[::-1]


@pytest.mark.parametrize(
    ("request_line", "status", "code"),
    [
        ("GET /v1/callbacks?task=1", 400, "WrongTaskIdFormat"),
        (f"GET /v1/callbacks?task={UNKNOWN}", 404, "TaskDoesNotExist"),
        ("GET /v1/callbacks?state=ENDED", 400, "WrongValue"),
        ("GET /v1/callbacks?limit=0", 400, "WrongValue"),
        ("GET /v1/callbacks?cursor=x", 400, "WrongValue"),
        ("GET /v1/callbacks?job=x", 400, "WrongValue"),
        ("POST /v1/callbacks/msg_none/replay", 404, "DeliveryDoesNotExist"),
        ("POST /v1/callbacks/test", 415, "WrongContentType"),
        ("DELETE /v1/callbacks/secret", 405, "MethodNotAllowed"),
    ],
)
async def test_what_is_wrong_is_said(tmp_path: Path, request_line: str, status: int, code: str) -> None:
    async with serving(tmp_path) as server:
        method, _, path = request_line.partition(" ")
        answer = await server.client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"url": "https://a.example/", "more": 1}'])
async def test_a_test_needs_a_url_and_nothing_else(tmp_path: Path, body: str) -> None:
    async with serving(tmp_path) as server:
        fields = {"content-type": "application/json"}
        answer = await server.client.post("/v1/callbacks/test", content=body, headers=fields)
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongBody")


async def test_the_secret_is_made_once_and_never_cached(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        first = await server.client.get("/v1/callbacks/secret")
        assert first.headers["cache-control"] == "no-store"
        assert first.json()["secret"].startswith("whsec_") and first.json()["previous"] == []
        assert (await server.client.get("/v1/callbacks/secret")).json() == first.json()
        rotated = (await server.client.post("/v1/callbacks/secret/rotate")).json()
        assert rotated["secret"] != first.json()["secret"]
        assert [each["secret"] for each in rotated["previous"]] == [first.json()["secret"]]


def test_openapi_tells_receivers_what_they_are_sent() -> None:
    found = build(CATALOG, HttpConfig())
    assert set(found["webhooks"]) == {
        f"task.{moment}" for moment in ("started", "progress", "done", "failed", "canceled")
    }
    for path, method in (
        ("/v1/jobs/ping", "post"),
        ("/v1/jobs/{job}", "post"),
        ("/v1/tasks", "post"),
        ("/v1/tasks/{id}", "put"),
    ):
        assert found["paths"][path][method]["callbacks"]["told"]
    fields = {each["name"] for each in found["webhooks"]["task.done"]["post"]["parameters"]}
    assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= fields
