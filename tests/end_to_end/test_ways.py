"""Every way into a server and every way back, over plain HTTP, with the server killed in between."""

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.backends.every_server import asked_for
from tests.servers import Server

pytestmark = pytest.mark.story

JOBS = Path(__file__).with_name("way_jobs.py")
FAST = ("--workers", "1", "--lease-seconds", "2", "--heartbeat-seconds", "0.5", "--sweep-seconds", "0.2")
DATA = b"meow" * 100
MEASURED = {"bytes": 800}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Server(JOBS, tmp_path_factory.mktemp("ways") / "data", *FAST, "--queue-tasks-max", "40") as server:
        yield server.url


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url, timeout=60) as client:
        yield client


def ended(http: httpx2.Client, task_id: str) -> dict[str, Any]:
    """Wait for the end of a task, as a client does that asks again and again."""
    while (task := http.get(f"/v1/tasks/{task_id}", params={"wait": 20}).json())["finished_at"] is None:
        pass
    found: dict[str, Any] = task
    return found


def accepted(answer: httpx2.Response) -> str:
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_the_server_stands_on_what_was_asked_for(http: httpx2.Client) -> None:
    on, said = asked_for(), http.get("/v1/promises").json()
    assert (said["store"], said["broker"], said["blobs"]) == (on.store, on.broker, on.blobs.replace("local", "file"))
    while http.get("/readyz").json()["checks"].get("broker", "ok") != "ok":
        pass
    assert len(http.get("/v1/nodes").json()["nodes"]) == 1 + (on.nodes == "pair")


def test_whichever_way_a_file_comes_in_the_job_sees_the_same(http: httpx2.Client) -> None:
    stored = http.post("/v1/files", content=DATA, headers={"Content-Type": "text/plain"}).json()["id"]
    named = {"file": f"file:{stored}", "times": 2}
    ids = [
        accepted(http.post("/v1/jobs/measure", json=named)),
        accepted(http.post("/v1/jobs/measure", files={"file": ("cat.txt", DATA)}, data={"times": "2"})),
        accepted(http.post("/v1/jobs/measure?times=2", content=DATA, headers={"Content-Type": "text/plain"})),
        accepted(
            http.post("/v1/jobs/measure", json={**named, "file": f"data:text/plain;base64,{b64encode(DATA).decode()}"})
        ),
    ]
    made = http.post("/v1/tasks", json={"job": "measure", "input": named, "run": True})
    batch = http.post("/v1/tasks/batch", json={"tasks": [{"job": "measure", "input": named, "run": True}] * 3})
    assert (made.status_code, batch.status_code) == (201, 201)
    ids += [made.json()["id"], *(task["id"] for task in batch.json()["tasks"])]
    assert [ended(http, task_id)["result"] for task_id in ids] == [MEASURED] * 8


def test_whichever_way_a_client_waits_it_hears_of_the_end(http: httpx2.Client, tmp_path: Path) -> None:
    at_once = http.post("/v1/jobs/measure?times=2", content=DATA, headers={"Prefer": "wait=60", "Content-Type": "a/b"})
    assert (at_once.status_code, at_once.json()) == (200, MEASURED)
    task_id = accepted(http.post("/v1/jobs/wait_for", json={"gate": str(tmp_path / "gate")}))
    assert http.get(f"/v1/tasks/{task_id}", params={"wait": 0.3}).json()["finished_at"] is None
    with http.stream("GET", f"/v1/tasks/{task_id}/events") as events:
        told = []
        for line in events.iter_lines():
            if line.startswith("data: {"):
                told.append(json.loads(line[6:]).get("status"))
                if told[-1] == "RUNNING":
                    (tmp_path / "gate").touch()
    assert [status for status in told if status] == ["QUEUED", "RUNNING", "DONE"]
    result = http.get(f"/v1/tasks/{task_id}/result", params={"wait": 20})
    assert (result.status_code, result.json()) == (200, 1)
    assert ended(http, task_id)["status"] == "DONE"


def test_a_file_comes_back_whole_in_part_and_not_again_when_it_is_known(http: httpx2.Client) -> None:
    task_id = accepted(http.post("/v1/jobs/turned", files={"file": ("cat.txt", b"0123456789")}))
    result = http.get(f"/v1/tasks/{task_id}/result", params={"wait": 20})
    assert (result.content, result.headers["content-type"].partition(";")[0]) == (b"9876543210", "text/plain")
    part = http.get(f"/v1/tasks/{task_id}/result", headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"765", "bytes 2-4/10")
    known = http.get(f"/v1/tasks/{task_id}/result", headers={"If-None-Match": result.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert http.delete(f"/v1/tasks/{task_id}").json()["status"] == "DELETED"
    assert http.get(f"/v1/tasks/{task_id}/result").json()["code"] == "TaskIsDeleted"


def test_what_fails_is_tried_again_and_what_comes_too_late_or_too_soon_is_not_run(
    http: httpx2.Client, tmp_path: Path
) -> None:
    stumbled = accepted(http.post("/v1/jobs/stumble", json={}))
    held = accepted(http.post("/v1/jobs/wait_for", json={"gate": str(tmp_path / "gate")}))
    late = accepted(
        http.post("/v1/jobs/wait_for", json={"gate": str(tmp_path / "gate")}, headers={"Offload-Deadline": "1"})
    )
    due = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
    soon = http.post("/v1/tasks", json={"job": "stumble", "input": {}, "run": True, "run_at": due}).json()["id"]
    ended_late = ended(http, late)
    assert (ended_late["status"], ended_late["reason"], ended_late["attempt"]) == ("FAILED", "deadline", 0)
    assert http.post(f"/v1/tasks/{held}/cancel").status_code in (200, 202)
    assert ended(http, held)["status"] == "CANCELED"
    (tmp_path / "gate").touch()
    assert http.post(f"/v1/tasks/{held}/retry").status_code in (200, 202)
    assert (ended(http, held)["status"], ended(http, stumbled)["result"]) == ("DONE", 2)
    waited = ended(http, soon)
    assert waited["result"] == 2 and waited["started_at"] >= waited["run_at"]


def test_a_full_queue_says_so_and_takes_tasks_again_when_there_is_room(http: httpx2.Client, tmp_path: Path) -> None:
    body, ids = {"gate": str(tmp_path / "gate")}, list[str]()
    while (answer := http.post("/v1/jobs/wait_for", json=body)).status_code == 202:
        ids.append(answer.json()["id"])
    assert (answer.status_code, answer.json()["code"]) == (503, "QueueFull"), answer.text
    slack = 0 if asked_for().store == "sqlite" else 1  # on a database a node counts what others may have let in
    assert abs(len(ids) - 40) <= slack
    (tmp_path / "gate").touch()
    assert {ended(http, task_id)["status"] for task_id in ids} == {"DONE"}
    while (answer := http.post("/v1/jobs/wait_for", json=body)).status_code == 503:
        assert slack, answer.text
    assert ended(http, accepted(answer))["status"] == "DONE"


def test_a_killed_server_knows_its_tasks_its_files_and_its_keys_again(tmp_path: Path) -> None:
    key, gate = {"Idempotency-Key": str(uuid4())}, tmp_path / "gate"
    with Server(JOBS, tmp_path / "data", *FAST) as server:
        with httpx2.Client(base_url=server.url, timeout=60) as http:
            stored = http.post("/v1/files", content=DATA, headers={"Content-Type": "text/plain"}).json()["id"]
            before = accepted(http.post("/v1/jobs/turned", json={"file": f"file:{stored}"}))
            assert http.get(f"/v1/tasks/{before}/result", params={"wait": 20}).content == DATA[::-1]
            running = accepted(http.post("/v1/jobs/wait_for", json={"gate": str(gate)}, headers=key))
            while http.get(f"/v1/tasks/{running}").json()["status"] != "RUNNING":
                pass
            waiting = accepted(http.post("/v1/jobs/turned", json={"file": f"file:{stored}"}))
        server.kill()
        server.start()
        with httpx2.Client(base_url=server.url, timeout=60) as http:
            again = http.post("/v1/jobs/wait_for", json={"gate": str(gate)}, headers=key)
            assert (again.json()["id"], again.headers["idempotency-replayed"]) == (running, "true")
            gate.touch()
            assert (ended(http, running)["status"], ended(http, running)["attempt"]) == ("DONE", 2)
            for task_id in (before, waiting):
                assert http.get(f"/v1/tasks/{task_id}/result", params={"wait": 20}).content == DATA[::-1]
            assert http.get(f"/v1/tasks/{before}").json()["attempt"] == 1
