"""Callbacks as a client's server sees them: real requests, with signatures that hold."""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from offload.testing import Received, Receiver, WrongSignature, verify
from tests.servers import Server

JOBS = Path(__file__).with_name("callback_jobs.py")
ALLOW = {"OFFLOAD_EGRESS_ALLOW": "127.0.0.0/8"}


def server(tmp_path: Path, **env: str) -> Server:
    return Server(JOBS, tmp_path / "data", "--workers", "2", env={**ALLOW, **env})


def http_to(server: Server) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, timeout=60)


def submit(http: httpx2.Client, job: str, body: dict[str, Any], url: str, **fields: str) -> dict[str, Any]:
    header = {"Offload-Callback": url, **{f"Offload-Callback-{name.title()}": text for name, text in fields.items()}}
    answer = http.post(f"/v1/jobs/{job}", json=body, headers=header)
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
