"""What a server that is killed, stopped or overrun owes to its clients."""

import asyncio
import json
import random
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers import Server

pytestmark = pytest.mark.story

JOBS = Path(__file__).parent / "jobs_for_servers.py"
FINAL = {"DONE", "FAILED", "CANCELED"}
FAST = ("--lease-seconds", "2", "--heartbeat-seconds", "0.5", "--sweep-seconds", "0.2")


async def final_states(http: httpx2.AsyncClient, ids: list[str]) -> dict[str, dict[str, Any]]:
    """Return every task once it is final; a missing one is a lost one."""
    found = {}
    for task_id in ids:
        while True:
            answer = await http.get(f"/v1/tasks/{task_id}", params={"wait": 30})
            assert answer.status_code == 200, (task_id, answer.text)
            if answer.json()["status"] in FINAL:
                found[task_id] = answer.json()
                break
    return found


def lines(trace: Path) -> list[list[str]]:
    return [line.split() for line in trace.read_text().splitlines()] if trace.exists() else []


async def started(trace: Path, count: int, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while sum(line[0] == "start" for line in lines(trace)) < count:
            await asyncio.sleep(0.01)


class Flood:
    """Clients that submit without pause and remember what they were promised."""

    def __init__(self, url: str, trace: Path) -> None:
        self.url, self.trace = url, trace
        self.accepted: list[str] = []
        self._stop = False

    async def run(self, clients: int) -> None:
        await asyncio.gather(*(self._client() for _ in range(clients)))

    def stop(self) -> None:
        self._stop = True

    async def _client(self) -> None:
        async with httpx2.AsyncClient(base_url=self.url, timeout=30) as http:
            while not self._stop:
                body = {"trace": str(self.trace), "n": len(self.accepted)}
                try:
                    answer = await http.post(
                        "/v1/jobs/quick", json=body, headers={"Idempotency-Key": str(uuid.uuid4())}
                    )
                except httpx2.TransportError:
                    return  # the server died: whether it took this one is unknown
                if answer.status_code == 202:
                    self.accepted.append(answer.json()["id"])


@pytest.mark.deadline(240)
async def test_whatever_a_killed_server_accepted_is_there_after_its_restart_and_ends_once(tmp_path: Path) -> None:
    trace, data = tmp_path / "trace", tmp_path / "data"
    accepted: list[str] = []
    for _ in range(3):
        server = Server(JOBS, data, *FAST).start()
        flood = Flood(server.url, trace)
        running = asyncio.create_task(flood.run(clients=8))
        moment = random.randrange(10, 300)  # of the kill: the random part of this test
        async with asyncio.timeout(60):
            while len(flood.accepted) < moment:
                await asyncio.sleep(0.002)
        server.kill()
        flood.stop()
        await running
        accepted += flood.accepted
    with Server(JOBS, data, *FAST) as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
            tasks = await final_states(http, accepted)
            assert Counter(task["status"] for task in tasks.values()) == {"DONE": len(set(accepted))}
            again = await final_states(http, accepted)
            assert {i: (t["status"], t["finished_at"]) for i, t in again.items()} == {
                i: (t["status"], t["finished_at"]) for i, t in tasks.items()
            }
    finishes = Counter(line[1] for line in lines(trace) if line[0] == "finish")
    assert set(accepted) <= set(finishes)


@pytest.mark.long
@pytest.mark.deadline(120)
async def test_an_attempt_of_a_killed_server_is_tried_again_by_the_next(tmp_path: Path) -> None:
    trace, data = tmp_path / "trace", tmp_path / "data"
    server = Server(JOBS, data).start()  # true defaults: a lease of 30 s must not delay a restart of the same store
    async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
        task_id = (await http.post("/v1/jobs/nap", json={"trace": str(trace), "seconds": 1.0})).json()["id"]
    await started(trace, 1)
    server.kill()
    with Server(JOBS, data) as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
            task = (await final_states(http, [task_id]))[task_id]
    assert (task["status"], task["attempt"]) == ("DONE", 2)


@pytest.mark.long
@pytest.mark.deadline(120)
async def test_a_stopped_server_lets_work_end_gives_back_the_rest_and_burns_no_attempt(tmp_path: Path) -> None:
    trace, data = tmp_path / "trace", tmp_path / "data"
    with Server(JOBS, data, "--workers", "2", "--grace-seconds", "4") as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
            ends = (await http.post("/v1/jobs/nap", json={"trace": str(trace), "seconds": 1.5})).json()["id"]
            outlasts = (await http.post("/v1/jobs/nap", json={"trace": str(trace), "seconds": 600})).json()["id"]
            waits = (await http.post("/v1/jobs/nap", json={"trace": str(trace), "seconds": 0.1})).json()["id"]
            await started(trace, 2)
        assert server.terminate() == 0, server.log()
    with Server(JOBS, data, "--workers", "2") as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
            assert (await http.get(f"/v1/tasks/{ends}")).json()["status"] == "DONE"
            given_back = (await http.get(f"/v1/tasks/{outlasts}")).json()
            assert given_back["status"] in ("QUEUED", "RUNNING")
            assert given_back["attempt"] == (1 if given_back["status"] == "RUNNING" else 0)
            assert (await final_states(http, [waits]))[waits]["attempt"] == 1
            await http.delete(f"/v1/tasks/{outlasts}")


@pytest.mark.long
@pytest.mark.deadline(120)
async def test_a_stopping_server_answers_its_long_polls_at_once(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with Server(JOBS, tmp_path / "data", "--grace-seconds", "0") as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
            task_id = (await http.post("/v1/jobs/nap", json={"trace": str(trace), "seconds": 600})).json()["id"]
            await started(trace, 1)
            sent = asyncio.Event()

            async def hear(event: str, about: object) -> None:
                if event.endswith("send_request_body.complete"):
                    sent.set()

            prefer, more = {"Prefer": "wait=50"}, {"trace": hear}
            polling = asyncio.create_task(http.get(f"/v1/tasks/{task_id}", headers=prefer, extensions=more))
            await sent.wait()
            await http.get("/healthz")  # what was sent before it has been read as well
            exited = asyncio.create_task(asyncio.to_thread(server.terminate))
            answer = await polling
            assert answer.status_code == 200
            assert answer.json()["status"] in ("RUNNING", "QUEUED")
            assert await exited == 0


@pytest.mark.long
@pytest.mark.deadline(120)
async def test_a_job_that_holds_the_gil_for_ten_leases_is_started_once(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    flags = ("--lease-seconds", "1", "--heartbeat-seconds", "0.25", "--sweep-seconds", "0.25")
    with Server(JOBS, tmp_path / "data", *flags) as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
            body = {"trace": str(trace), "seconds": 10.0}
            task_id = (await http.post("/v1/jobs/hold_the_gil", json=body)).json()["id"]
            task = (await final_states(http, [task_id]))[task_id]
    assert (task["status"], task["attempt"]) == ("DONE", 1)
    assert [line[0] for line in lines(trace)] == ["start", "finish"]


@pytest.mark.long
@pytest.mark.deadline(200)
async def test_a_hundred_clients_of_a_slow_job_on_two_workers_are_all_answered_and_served(tmp_path: Path) -> None:
    limits = httpx2.Limits(max_connections=200)
    with Server(JOBS, tmp_path / "data", "--workers", "2") as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=5, limits=limits) as http:

            async def client() -> str:
                answer = await http.post("/v1/jobs/burn", json={"seconds": 0.2})
                assert answer.status_code == 202, answer.text
                return str(answer.json()["id"])

            ids = await asyncio.gather(*(client() for _ in range(100)))
            # the front stays quick while every core computes: a five-second timeout is never met
            assert (await http.get("/healthz")).status_code == 200
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
            tasks = await final_states(http, list(ids))
    assert {task["status"] for task in tasks.values()} == {"DONE"}


@pytest.mark.deadline(120)
async def test_a_killed_worker_is_noticed_its_task_retried_and_the_neighbours_unharmed(tmp_path: Path) -> None:
    import os
    import signal
    import time

    trace = tmp_path / "trace"
    with Server(JOBS, tmp_path / "data", "--workers", "2") as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
            killed = (await http.post("/v1/jobs/nap", json={"trace": str(trace), "seconds": 3})).json()["id"]
            neighbour = (await http.post("/v1/jobs/nap", json={"trace": str(trace), "seconds": 3})).json()["id"]
            await started(trace, 2)
            pid = next(int(line[3]) for line in lines(trace) if line[1] == killed)
            at = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            await started(trace, 3)
            noticed_seconds = time.monotonic() - at
            tasks = await final_states(http, [killed, neighbour])
    assert (tasks[killed]["status"], tasks[killed]["attempt"]) == ("DONE", 2)
    assert (tasks[neighbour]["status"], tasks[neighbour]["attempt"]) == ("DONE", 1)
    assert noticed_seconds < 10, json.dumps(tasks[killed])
