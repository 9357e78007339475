"""Callbacks as a client's server sees them: real requests, with signatures that hold."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest

from offload.client import AsyncClient, Client, Options
from offload.core.errors import DeliveryDoesNotExist
from offload.testing import Received, Receiver, WrongSignature, verify
from tests.backends.free_port import free_port
from tests.end_to_end.test_brokers import metric
from tests.servers import Server

pytestmark = pytest.mark.story

T = TypeVar("T")
JOBS = Path(__file__).with_name("callback_jobs.py")
ALLOW = {"OFFLOAD_EGRESS_ALLOW": "127.0.0.0/8"}


def server(tmp_path: Path, **env: str) -> Server:
    return Server(JOBS, tmp_path / "data", "--workers", "2", env={**ALLOW, **env})


def http_to(server: Server) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, timeout=60)


def submit(http: httpx2.Client, job: str, given: dict[str, Any], url: str, **fields: str) -> dict[str, Any]:
    header = {"Offload-Callback": url, **{f"Offload-Callback-{name.title()}": text for name, text in fields.items()}}
    answer = http.post(f"/v1/jobs/{job}", json=given, headers=header)
    assert answer.status_code == 202, answer.text
    task: dict[str, Any] = answer.json()
    return task


def secret_of(http: httpx2.Client) -> str:
    found: str = http.get("/v1/callbacks/secret").json()["secret"]
    return found


def received(receiver: Receiver, count: int = 1) -> list[Received]:
    found = receiver.wait_for(count)
    assert not receiver.refused
    return found


def test_the_end_of_a_task_is_told_signed_with_its_state(tmp_path: Path) -> None:
    with Receiver() as receiver, server(tmp_path) as started, http_to(started) as http:
        receiver.secret = secret_of(http)
        task = submit(http, "add", {"a": 1}, f"{receiver.url}hook?customer=42")
        assert task["callback"] == {
            "url": f"{receiver.url}hook?customer=42",
            "events": ["done", "failed", "canceled"],
            "body": "event",
        }
        (told,) = received(receiver)
        assert told.path == "/hook?customer=42"
        assert told.headers["content-type"] == "application/json"
        event = told.json
        assert (event["type"], event["data"]["status"], event["data"]["result"]) == ("task.done", "DONE", 2)
        assert (event["data"]["id"], event["timestamp"]) == (task["id"], event["data"]["finished_at"])
        stored = http.get(f"/v1/tasks/{task['id']}").json()
        assert event["data"] == stored
        with pytest.raises(WrongSignature):
            verify(told.headers, told.body + b" ", receiver.secret)


@pytest.mark.long
@pytest.mark.parametrize(
    ("job", "body", "kind", "status", "reason"),
    [
        ("fail", {"message": "no luck"}, "task.failed", "FAILED", "error"),
        ("refuse", {"message": "no cats"}, "task.failed", "FAILED", "rejected"),
    ],
)
def test_a_failure_is_told_without_its_traceback(
    tmp_path: Path, job: str, body: dict[str, Any], kind: str, status: str, reason: str
) -> None:
    with Receiver() as receiver, server(tmp_path) as started, http_to(started) as http:
        submit(http, job, body, receiver.url)
        (told,) = received(receiver)
        data = told.json["data"]
        assert (told.json["type"], data["status"], data["reason"]) == (kind, status, reason)
        assert body["message"] in data["error"]["message"]
        assert "traceback" not in data["error"] or not data["error"]["traceback"]


@pytest.mark.long
def test_only_the_events_that_were_asked_for_are_told_in_order(tmp_path: Path) -> None:
    with Receiver() as receiver, server(tmp_path) as started, http_to(started) as http:
        task = submit(http, "steps", {"count": 4, "seconds": 0.8}, receiver.url, events="done, started, progress")
        assert task["callback"]["events"] == ["started", "progress", "done"]
        while not (told := received(receiver))[-1].json["type"] == "task.done":
            receiver.wait_for(len(told) + 1)
        kinds = [each.json["type"] for each in told]
        assert kinds[0] == "task.started" and kinds[-1] == "task.done"
        assert 1 <= kinds.count("task.progress") == len(kinds) - 2
        for each in told[:-1]:
            assert each.json["data"]["status"] == "RUNNING"
        fractions = [each.json["data"]["progress"]["fraction"] for each in told[1:-1]]
        assert fractions == sorted(fractions)
        assert len({each.id for each in told}) == len(told)


def test_canceling_is_told(tmp_path: Path) -> None:
    with Receiver() as receiver, server(tmp_path) as started, http_to(started) as http:
        task = submit(http, "steps", {"count": 600, "seconds": 0.1}, receiver.url, events="canceled")
        assert http.post(f"/v1/tasks/{task['id']}/cancel").status_code in (200, 202)
        (told,) = received(receiver)
        assert (told.json["type"], told.json["data"]["status"]) == ("task.canceled", "CANCELED")


@pytest.mark.long
def test_a_deleted_task_is_told_as_it_ended(tmp_path: Path) -> None:
    answers = iter([503, 204])
    with Receiver(answer=lambda _: next(answers)) as receiver, server(tmp_path) as started, http_to(started) as http:
        task = submit(http, "add", {"a": 1}, receiver.url)
        receiver.wait_for(1)
        http.delete(f"/v1/tasks/{task['id']}")
        first, second = received(receiver, 2)
        assert first.id == second.id
        assert (second.json["data"]["status"], second.json["data"]["result"]) == ("DONE", None)


def test_the_result_itself_can_be_sent(tmp_path: Path) -> None:
    with Receiver() as receiver, server(tmp_path) as started, http_to(started) as http:
        receiver.secret = secret_of(http)
        for size in (1024, 3 * 1024**2):
            task = submit(http, "picture", {"size": size}, receiver.url, body="result")
            told = received(receiver, len(receiver.received) + 1)[-1]
            assert told.headers["content-type"] == "image/png"
            assert told.headers["offload-task-id"] == task["id"]
            assert "UTF-8''k%C3%A4se.png" in told.headers["content-disposition"]
            assert hashlib.sha256(told.body).digest() == hashlib.sha256(bytes(range(256)) * (size // 256)).digest()
        submit(http, "fail", {"message": "no"}, receiver.url, body="result")
        told = received(receiver, 3)[-1]
        assert told.headers["content-type"] == "application/problem+json"
        assert (told.headers["offload-task-status"], told.json["code"]) == ("FAILED", "TaskFailed")


@pytest.mark.long
def test_the_classic_service_answers_204_and_posts_the_result_to_a_stock_flask_app(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    port = free_port()
    with server(tmp_path) as started, http_to(started) as http:
        script = Path(__file__).with_name("flask_receiver.py")
        with subprocess.Popen(
            [sys.executable, script, str(kept), secret_of(http), str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as flask:
            try:
                fields = {
                    "Prefer": "return=minimal",
                    "Offload-Callback": f"http://127.0.0.1:{port}/hook",
                    "Offload-Callback-Body": "result",
                }
                accepted = http.post("/v1/jobs/add", json={"a": 40, "b": 2}, headers=fields)
                assert (accepted.status_code, accepted.content) == (204, b"")
                assert accepted.headers["preference-applied"] == "return=minimal"
                task_id = accepted.headers["location"].rpartition("/")[2]
                found = kept / f"DONE-{task_id}"
                deadline = time.monotonic() + 60
                while not found.exists():
                    assert time.monotonic() < deadline and flask.poll() is None
                    time.sleep(0.02)
                assert found.read_bytes() == b"application/json\n42"
            finally:
                flask.terminate()


@pytest.mark.long
def test_call_names_where_to_tell(tmp_path: Path) -> None:
    with Receiver() as receiver, server(tmp_path) as started, http_to(started) as http:
        receiver.secret = secret_of(http)
        command = [sys.executable, "-m", "offload", "call", "add", "a=40", "b=2", "--url", started.url]
        told = [*command, "--callback", receiver.url]
        assert subprocess.run(told, capture_output=True, text=True, timeout=60).stdout == "42\n"
        assert received(receiver, 1)[0].json["data"]["result"] == 42
        subprocess.run([*told, "--callback-body", "result", "--no-wait"], capture_output=True, timeout=60)
        assert received(receiver, 2)[1].json == 42
        wrong = subprocess.run([*command, "--callback-body", "result"], capture_output=True, text=True, timeout=60)
        assert wrong.returncode == 2 and "--callback" in wrong.stderr


def test_the_log_tells_of_tries_and_a_replay_sends_again(tmp_path: Path) -> None:
    with Receiver(answer=(410, {}, b"gone " * 500)) as receiver, server(tmp_path) as started:
        with Client(started.url) as client:
            task = client.submit("add", a=1, options={"callback": f"{receiver.url}x"})
            receiver.wait_for(1)
            found = until(lambda: [each for each in client.callbacks(task.id) if each.state == "GIVEN_UP"])[0]
            assert (found.type, found.tries, found.due_at) == ("task.done", 1, None)
            assert found.last is not None and (found.last.status_code, found.last.error) == (410, None)
            assert found.last.answer == ("gone " * 500)[:1024]
            receiver.answer = 204
            assert client.replay_callback(found.id).state == "PENDING"
            first, second = receiver.wait_for(2)
            assert first.id == second.id == found.id
            until(lambda: [each for each in client.callbacks(state="DELIVERED") if each.id == found.id])
            with pytest.raises(DeliveryDoesNotExist):
                client.replay_callback("msg_none")


def test_a_rotated_secret_signs_beside_the_one_before(tmp_path: Path) -> None:
    with Receiver() as receiver, server(tmp_path) as started, Client(started.url) as client:
        old = client.callback_secret()
        new = client.callback_secret(rotate=True)
        assert new.secret != old.secret and [each.secret for each in new.previous] == [old.secret]
        client.submit("add", a=1, options={"callback": {"url": receiver.url, "events": ["done"]}})
        (told,) = receiver.wait_for(1)
        verify(told.headers, told.body, old.secret)
        verify(told.headers, told.body, new.secret)
    with server(tmp_path) as started, Client(started.url) as client:
        assert client.callback_secret() == new


@pytest.mark.long
async def test_the_async_client_does_the_same(tmp_path: Path) -> None:
    with Receiver() as receiver, server(tmp_path) as started:
        async with AsyncClient(started.url) as client:
            receiver.secret = (await client.callback_secret()).secret
            tried = await client.test_callback(receiver.url)
            assert (tried.status_code, tried.error) == (204, None)
            assert receiver.received[0].json["type"] == "callback.test"
            options: Options = {"callback": {"url": receiver.url, "body": "result", "events": ["done", "failed"]}}
            task = await client.submit("add", a=1, options=options)
            told = await asyncio.to_thread(receiver.wait_for, 2)
            assert told[1].json == 2
            (one,) = [each async for each in client.callbacks(task.id)]
            assert (await client.replay_callback(one.id)).id == told[1].id


@pytest.mark.long
def test_the_command_line_lists_replays_tests_and_shows_the_secret(tmp_path: Path) -> None:
    with Receiver() as receiver, server(tmp_path) as started:
        env = {**os.environ, "OFFLOAD_URL": started.url}

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "offload", "callbacks", *words]
            return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

        receiver.secret = run("secret").stdout.strip()
        assert receiver.secret.startswith("whsec_")
        tested = run("test", receiver.url)
        assert (tested.returncode, tested.stdout[:6]) == (0, "204 in"), tested
        with http_to(started) as http:
            task = submit(http, "add", {"a": 1}, receiver.url)
        receiver.wait_for(2)
        until(lambda: "DELIVERED" in run("list", "--task", task["id"]).stdout)
        (found,) = json.loads(run("list", "--task", task["id"], "--json").stdout)
        assert run("replay", found["id"]).returncode == 0
        receiver.wait_for(3)
        rotated = run("secret", "--rotate")
        assert rotated.stdout.strip() != receiver.secret and receiver.secret in rotated.stderr
        refused = run("test", "http://10.0.0.1/")
        assert refused.returncode == 2 and "10.0.0.1" in refused.stderr
        assert run("test", "http://127.0.0.1:1024/nobody").returncode == 1


@pytest.mark.long
def test_a_closed_address_is_refused_when_the_task_is_submitted(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1") as started, http_to(started) as http:
        for url in (
            "http://127.0.0.1:9000/",
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
            "http://u:p@a.example/",
        ):
            in_header = http.post("/v1/jobs/add", json={"a": 1}, headers={"Offload-Callback": url})
            assert (in_header.status_code, in_header.json()["code"]) == (422, "AddressRefused"), url
            in_body = http.post("/v1/tasks", json={"job": "add", "input": {"a": 1}, "callback": url})
            assert (in_body.status_code, in_body.json()["code"]) == (422, "AddressRefused"), url
            tasks = [{"job": "add", "input": {"a": 1}}, {"job": "add", "input": {"a": 1}, "callback": {"url": url}}]
            in_batch = http.post("/v1/tasks/batch", json={"tasks": tasks})
            assert (in_batch.status_code, in_batch.json()["index"]) == (422, 1), url
        assert http.get("/v1/tasks").json()["tasks"] == []


@pytest.mark.long
def test_what_became_of_callbacks_is_counted(tmp_path: Path) -> None:
    with Receiver() as receiver, server(tmp_path) as started, http_to(started) as http:
        submit(http, "add", {"a": 1}, receiver.url)
        submit(http, "add", {"a": 1}, "http://127.0.0.2:1024/nobody")
        counted = 'offload_callbacks_total{outcome="%s"}'
        until(lambda: metric(started.url, counted % "failed") >= 1)  # it is tried again after five seconds
        until(lambda: metric(started.url, counted % "delivered") == 1)
        until(lambda: metric(started.url, "offload_callback_hosts_failing") == 1)


def until(said: Callable[[], T]) -> T:
    """Return what a function says once it says something."""
    deadline = time.monotonic() + 60
    while not (found := said()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
