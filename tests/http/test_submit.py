"""POST /v1/jobs/{job}: what is accepted, in which forms, and what the answer says."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from offload.core.task import TaskEvent
from offload.http.config import HttpConfig
from offload.http.events import event_text
from tests.egress.zoo import Visit, Zoo
from tests.http.kit import Server, serving


async def test_a_submitted_task_is_accepted_at_once_and_its_result_can_be_read(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/add", json={"a": 2, "b": 3})
        assert answer.status_code == 202
        task = answer.json()
        assert answer.headers["location"] == f"/v1/tasks/{task['id']}" == task["links"]["self"]
        assert int(answer.headers["retry-after"]) >= 1
        assert (task["job"], task["queue"], task["input"]) == ("add", "default", {"a": 2, "b": 3})
        assert (await server.finished(task["id"]))["result"] == 5
        result = await server.client.get(f"/v1/tasks/{task['id']}/result")
        assert (result.status_code, result.json(), result.headers["content-type"]) == (200, 5, "application/json")


async def test_a_task_tells_its_times_and_leaves_out_what_is_unknown(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.submit("add", {"a": 1}, offload_delay="3600")
        assert task["created_at"].endswith("Z") and len(task["created_at"]) == 24
        assert task["run_at"] > task["created_at"] and task["started_at"] is None
        assert "position" not in task
        assert (task["reason"], task["error"], task["result"], task["tags"]) == (None, None, None, {})


async def test_a_wait_that_is_met_answers_with_the_result_itself(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/add", json={"a": 2}, headers={"prefer": "wait=30"})
        assert (answer.status_code, answer.json()) == (200, 3)
        assert answer.headers["preference-applied"] == "wait=30"
        assert answer.headers["location"].startswith("/v1/tasks/")


async def test_a_wait_that_is_not_met_answers_as_without_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/hold", json={"gate": "w"}, headers={"prefer": "wait=0.05"})
        assert (answer.status_code, answer.json()["job"]) == (202, "hold")
        assert "retry-after" in answer.headers


async def test_a_longer_wait_than_is_given_becomes_the_longest(tmp_path: Path) -> None:
    async with serving(tmp_path, config=HttpConfig(wait_seconds_max=0.1)) as server:
        answer = await server.client.post("/v1/jobs/hold", json={"gate": "l"}, headers={"prefer": "wait=500"})
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0.1")


async def test_a_failed_task_that_was_waited_for_is_409_with_its_error(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/fail", json={"message": "no paper"}, headers={"prefer": "wait=30"})
        assert (answer.status_code, answer.json()["code"]) == (409, "TaskFailed")
        assert answer.json()["error"]["message"] == "no paper" and answer.json()["reason"] == "error"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["location"] == f"/v1/tasks/{answer.json()['task']}"


async def test_who_wants_little_gets_204(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        wish = {"prefer": "return=minimal, respond-async"}
        answer = await server.client.post("/v1/jobs/add", json={"a": 2}, headers=wish)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["preference-applied"] == "respond-async, return=minimal"
        task_id = answer.headers["location"].rpartition("/")[2]
        assert (await server.finished(task_id))["result"] == 3


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}])
async def test_a_job_without_parameters_needs_no_body(tmp_path: Path, headers: dict[str, str]) -> None:
    async with serving(tmp_path) as server:
        content = b"{}" if headers else b""
        answer = await server.client.post("/v1/jobs/ping", content=content, headers=headers)
        assert answer.status_code == 202


async def test_wrong_input_lists_every_mistake_and_stores_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/add", json={"a": "x", "b": [], "c": 1})
        assert (answer.status_code, answer.json()["code"]) == (422, "WrongInput")
        assert sorted(str(mistake["loc"][0]) for mistake in answer.json()["errors"]) == ["a", "b", "c"]
        assert not server.memory._rows


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": 1',
        b"{'a': 1}",
        b"\xff",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
    ],
)
async def test_what_is_not_json_is_400(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/add", content=body, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongBody"), answer.text


@pytest.mark.parametrize("body", [b"[]", b"1", b'"a"', b"null"])
async def test_json_that_is_no_object_is_wrong_input(tmp_path: Path, body: bytes) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/add", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422


async def test_an_unknown_job_is_404_whatever_the_body(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/nosuch", content=b"x" * 1000)
        assert (answer.status_code, answer.json()["code"]) == (404, "JobDoesNotExist")
        assert "add" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/xml"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json", "content-encoding": "gzip"},
        {"content-type": "application/json, application/json"},
        {},
    ],
)
async def test_other_types_and_encodings_are_415(tmp_path: Path, headers: dict[str, str]) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/add", content=b'{"a": 1}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "WrongContentType")


async def test_json_over_the_limit_is_413_with_the_limit(tmp_path: Path) -> None:
    async with serving(tmp_path, config=HttpConfig(json_bytes_max=100)) as server:
        for content in (b"[" + b" " * 200 + b"]", _pieces(b" " * 60, 4)):
            answer = await server.client.post(
                "/v1/jobs/add", content=content, headers={"content-type": "application/json"}
            )
            assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (413, "BodyTooLarge", 100)


async def test_json_in_pieces_is_put_together(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post(
            "/v1/jobs/add", content=_pieces(b'{"a":  ', 1, b"7", b"}"), headers={"content-type": "application/json"}
        )
        assert answer.json()["input"] == {"a": 7}


async def test_a_query_beside_a_json_body_is_refused_not_ignored(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/add?b=3", json={"a": 1})
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongValue")


def test_when_a_task_may_start_is_told_in_events_as_everywhere_else() -> None:
    event = TaskEvent(n=1, kind="status", at=0.5, attempt=0, data=b'{"status":"QUEUED","run_at":60.25}')
    told = b'{"status":"QUEUED","run_at":"1970-01-01T00:01:00.250Z","at":"1970-01-01T00:00:00.500Z"}'
    assert told in event_text(event)


async def test_options_come_as_headers(tmp_path: Path) -> None:
    soon = datetime.now(timezone(timedelta(hours=5, minutes=30))).replace(microsecond=0) + timedelta(hours=1)
    async with serving(tmp_path) as server:
        task = await server.submit(
            "add",
            {"a": 1},
            offload_priority="-7",
            offload_run_at=soon.isoformat(),
            offload_deadline="90.5",
            offload_tags="customer=42, colour = blue=green,empty=",
        )
        assert task["priority"] == -7
        assert task["run_at"] == soon.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        assert task["deadline_at"] is not None
        assert task["tags"] == {"customer": "42", "colour": "blue=green", "empty": ""}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Offload-Priority", "101"),
        ("Offload-Priority", "high"),
        ("Offload-Priority", "1.5"),
        ("Offload-Priority", ""),
        ("Offload-Delay", "-1"),
        ("Offload-Delay", "1e9"),
        ("Offload-Delay", "nan"),
        ("Offload-Delay", "9999999999"),
        ("Offload-Run-At", "tomorrow"),
        ("Offload-Run-At", "2055-01-01"),
        ("Offload-Run-At", "2055-01-01T00:00:00"),
        ("Offload-Run-At", "2055-13-01T00:00:00Z"),
        ("Offload-Run-At", "9999-01-01T00:00:00Z"),
        ("Offload-Deadline", "0"),
        ("Offload-Deadline", "soon"),
        ("Offload-Tags", "novalue"),
        ("Offload-Tags", "=x"),
        ("Offload-Tags", "a=1,a=2"),
        ("Offload-Tags", "a=" + "x" * 257),
        ("Offload-Tags", "k" * 65 + "=1"),
        ("Offload-Tags", ",".join(f"k{n}=1" for n in range(33))),
        ("Offload-Prioirty", "1"),
        ("Idempotency-Key", "a b"),
        ("Idempotency-Key", "x" * 256),
        ("Idempotency-Key", ""),
        ("Idempotency-Key", "käse"),
    ],
)
async def test_a_wrong_option_is_400_and_says_which(tmp_path: Path, name: str, value: str) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/add", json={"a": 1}, headers=[(name.encode(), value.encode())])
        assert (answer.status_code, answer.json()["code"]) == (400, "WrongValue"), answer.text
        assert not server.memory._rows


async def test_a_result_is_pushed_before_the_task_is_done_and_its_url_is_shown_to_nobody(tmp_path: Path) -> None:
    async with Zoo({"/there": _takes}).open() as zoo, serving(tmp_path) as server:
        url = zoo.url("/there?signature=hush")
        for answer in (
            await server.client.post("/v1/jobs/add", json={"a": 1}, headers={"offload-upload-to": url}),
            await server.client.post(
                "/v1/tasks", json={"job": "add", "input": {"a": 1}, "run": True, "upload_to": url}
            ),
        ):
            assert answer.status_code in (201, 202), answer.text
            task = await server.finished(answer.json()["id"])
            assert task["status"] == "DONE" and "hush" not in str(task)
            put = zoo.visits[-1]
            assert (put.method, put.body, put.headers["content-type"]) == ("PUT", b"2", "application/json")


async def test_a_result_that_nobody_took_is_read_here(tmp_path: Path) -> None:
    async with Zoo({}).open() as zoo, serving(tmp_path) as server:
        header = {"offload-upload-to": zoo.url("/away?signature=hush"), "prefer": "wait=60"}
        answer = await server.client.post("/v1/jobs/add", json={"a": 1}, headers=header)
        assert (answer.status_code, answer.json(), answer.headers["offload-task-status"]) == (200, 2, "FAILED")
        task = (await server.client.get(answer.headers["location"])).json()
        assert (task["status"], task["reason"], task["attempt"]) == ("FAILED", "upload_failed", 1)
        assert "answered 404" in task["error"]["message"] and "hush" not in str(task)


@pytest.mark.parametrize("url", ["https://10.0.0.1/there", "ftp://example.com/", "http://a:hush@example.com/"])
async def test_a_place_for_a_result_that_would_never_be_used_is_refused(tmp_path: Path, url: str) -> None:
    async with serving(tmp_path) as server:
        for answer in (
            await server.client.post("/v1/jobs/add", json={"a": 1}, headers={"offload-upload-to": url}),
            await server.client.post("/v1/tasks", json={"job": "add", "input": {"a": 1}, "upload_to": url}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (422, "AddressRefused")
            assert answer.json()["detail"].startswith("upload_to: ") and "hush" not in answer.text
        assert not server.memory._rows


async def _takes(visit: Visit) -> None:
    await visit.read_body()
    await visit.answer("201 Created")


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/cat.jpg", "http://me:secret@example.com/cat.jpg", "http://example.com:25/cat.jpg"]
)
async def test_a_file_at_a_url_that_would_never_be_fetched_is_refused(tmp_path: Path, url: str) -> None:
    async with serving(tmp_path) as server:
        for answer in (
            await server.client.post("/v1/jobs/copy", json={"image": url}),
            await server.client.post("/v1/jobs/copy", files={"image": (None, url)}),
            await server.client.post("/v1/tasks", json={"job": "copy", "input": {"image": url}}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (422, "AddressRefused"), answer.text
            assert answer.json()["detail"].startswith("image: ")
            assert "secret" not in answer.text
        assert not server.memory._rows and not server.blobs()


async def test_a_file_that_is_still_to_be_fetched_is_shown_without_what_its_url_signs_with(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        body = {"job": "copy", "input": {"image": "http://127.0.0.1:9999/a/cat.jpg?X-Signature=hush#hush"}}
        made = await server.client.post("/v1/tasks", json=body)
        assert made.status_code == 201, made.text
        shown = made.json()["input"]["image"]
        own = f"/v1/tasks/{made.json()['id']}/input/image"
        source = "http://127.0.0.1:9999/a/cat.jpg?…"
        assert shown == {"name": None, "type": None, "size": None, "source": source, "url": own}
        assert "hush" not in made.text
        assert (await server.client.get(own)).status_code == 404


async def test_another_url_under_the_same_key_is_another_request(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        key = {"idempotency-key": "one"}
        answers = [
            await server.client.post("/v1/tasks", json={"job": "copy", "input": {"image": url}}, headers=key)
            for url in ("https://a.example.com/1", "https://a.example.com/1", "https://a.example.com/2")
        ]
        assert [answer.status_code for answer in answers] == [201, 201, 422]
        assert answers[2].json()["code"] == "IdempotencyKeyReused"


async def test_a_client_that_hangs_up_while_waiting_does_not_cancel_the_task(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        asking = asyncio.create_task(
            server.client.post("/v1/jobs/hold", json={"gate": "gone"}, headers={"prefer": "wait=60"})
        )
        task = await _only_task(server)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        answer = await server.client.get(f"/v1/tasks/{task['id']}")
        assert answer.json()["status"] in ("QUEUED", "RUNNING")


async def _only_task(server: Server) -> dict[str, object]:
    async with asyncio.timeout(20):
        while True:
            tasks = (await server.client.get("/v1/tasks")).json()["tasks"]
            if tasks:
                return dict(json.loads(json.dumps(tasks[0])))
            await asyncio.sleep(0.01)


async def _pieces(piece: bytes, times: int, *rest: bytes) -> AsyncIterator[bytes]:
    for each in [piece] * times + list(rest):
        yield each
