"""Callbacks when receivers misbehave and the server is killed: each end is told, and nobody waits for another."""

import asyncio
import random
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from offload.testing import Receiver
from tests.receivers import Zoo, zoo
from tests.servers import Server

JOBS = Path(__file__).parents[1] / "end_to_end" / "callback_jobs.py"
ENV = {"OFFLOAD_EGRESS_ALLOW": "127.0.0.0/8", "OFFLOAD_LOG_LEVEL": "error"}
KINDS = ("good", "slow", "broken", "missing", "gone", "busy", "moved", "never", "reset", "endless", "tls", "dns")


def server(tmp_path: Path) -> Server:
    return Server(JOBS, tmp_path / "data", "--workers", "2", env=ENV)


async def submit(http: httpx2.AsyncClient, url: str) -> str:
    answer = await http.post("/v1/jobs/add", json={"a": 1}, headers={"Offload-Callback": url})
    assert answer.status_code == 202, answer.text
    task_id: str = answer.json()["id"]
    return task_id


async def log_of(http: httpx2.AsyncClient, task_id: str) -> dict[str, Any]:
    """Return the one callback of a task, once the task has ended."""
    async with asyncio.timeout(60):
        while not (found := (await http.get(f"/v1/callbacks?task={task_id}")).json()["callbacks"]):
            await asyncio.sleep(0.05)
    (one,) = found
    return dict(one)


async def tried(http: httpx2.AsyncClient, task_id: str, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a callback after a try, or after one more than `before`."""
    async with asyncio.timeout(60):
        while (found := await log_of(http, task_id))["last"] is None or (before and found["last"] == before["last"]):
            await asyncio.sleep(0.05)
    return found


def url_of(kind: str, receivers: Zoo) -> str:
    if kind == "dns":
        return "http://nobody.invalid/"
    if kind == "tls":
        return receivers.url("good", "127.0.0.99", scheme="https")
    return receivers.url(kind, f"127.0.0.{KINDS.index(kind) + 2}")


def waits(found: dict[str, Any]) -> float:
    """Return how long after its last try a callback is due again."""
    end: float = datetime.fromisoformat(found["last"]["at"]).timestamp() + found["last"]["latency_seconds"]
    return datetime.fromisoformat(found["due_at"]).timestamp() - end


EXPECTED: dict[str, tuple[str, int | None, str]] = {
    "good": ("DELIVERED", 200, ""),
    "slow": ("DELIVERED", 204, ""),
    "endless": ("DELIVERED", 200, ""),
    "gone": ("GIVEN_UP", 410, ""),
    "broken": ("PENDING", 500, ""),
    "missing": ("PENDING", 404, ""),
    "moved": ("PENDING", 302, ""),
    "busy": ("PENDING", 429, ""),
    "never": ("PENDING", None, "took too long"),
    "reset": ("PENDING", None, "broke"),
    "tls": ("PENDING", None, "could not be trusted"),
    "dns": ("PENDING", None, "cannot be reached"),
}


@pytest.mark.deadline(150)
async def test_each_way_to_misbehave_has_its_outcome_and_survives_a_restart(tmp_path: Path) -> None:
    async with zoo() as receivers:
        with server(tmp_path) as started:
            async with httpx2.AsyncClient(base_url=started.url, timeout=60) as http:
                tasks = {kind: await submit(http, url_of(kind, receivers)) for kind in KINDS}
                await receivers.until("never", 1)
                good = [await submit(http, receivers.url("good", "127.0.0.200")) for _ in range(20)]
                assert (await tried(http, good[0]))["state"] == "DELIVERED"
                assert receivers.held == 1, "the good ones waited for the one that never answers"
                for task_id in good:
                    assert (await tried(http, task_id))["state"] == "DELIVERED"
                quick = {kind: await tried(http, task_id) for kind, task_id in tasks.items() if kind != "never"}
            for kind, found in quick.items():
                check(kind, found)
            assert 4.9 <= waits(quick["broken"]) <= 5.6
            assert 3599 <= waits(quick["busy"]) <= 3601
            assert quick["moved"]["tries"] == 1 and len(receivers.came["good"]) == 21, "a redirect was followed"
            started.kill()
            started.start()
            async with httpx2.AsyncClient(base_url=started.url, timeout=60) as http:
                ids = await receivers.until("broken", 2)
                assert ids[0] == ids[1] == quick["broken"]["id"]
                again = await tried(http, tasks["broken"], quick["broken"])
                assert (again["state"], again["tries"]) == ("PENDING", 2)
                assert 299 <= waits(again) <= 331
                for kind in ("good", "slow", "endless", "gone", "busy"):
                    assert await log_of(http, tasks[kind]) == quick[kind]
                check("never", await tried(http, tasks["never"]))


def check(kind: str, found: dict[str, Any]) -> None:
    state, status, error = EXPECTED[kind]
    assert (found["state"], found["last"]["status_code"]) == (state, status), (kind, found)
    assert error in (found["last"]["error"] or ""), (kind, found)


@pytest.mark.deadline(150)
async def test_a_thousand_dead_endpoints_do_not_delay_a_good_one(tmp_path: Path) -> None:
    async with zoo() as receivers:
        with server(tmp_path) as started:
            async with httpx2.AsyncClient(base_url=started.url, timeout=60) as http:
                dead = [
                    {"job": "add", "input": {"a": i}, "run": True,
                     "callback": receivers.url("never", f"127.1.{i // 250}.{i % 250 + 1}")}
                    for i in range(1000)
                ]  # fmt: skip
                assert (await http.post("/v1/tasks/batch", json={"tasks": dead})).status_code == 201
                async with asyncio.timeout(60):
                    while receivers.held < 200:
                        await asyncio.sleep(0.02)
                took: list[float] = []
                held_most = 0
                for _ in range(100):
                    held_most = max(held_most, receivers.held)
                    task_id = await submit(http, receivers.url("good", "127.0.0.200"))
                    await receivers.until("good", len(took) + 1)
                    came_at = time.time()
                    ended_at = (await http.get(f"/v1/tasks/{task_id}")).json()["finished_at"]
                    took.append(came_at - datetime.fromisoformat(ended_at).timestamp())  # workers may wait for a core
                    assert task_id.replace("-", "") in receivers.came["good"][-1]
                assert held_most >= 200, "the dead ones were not dead"
        took.sort()
        print(f"callbacks of the good endpoint: median {took[50]:.3f} s, p99 {took[98]:.3f} s, worst {took[99]:.3f} s")
        assert took[98] < 2.0


@pytest.mark.long
@pytest.mark.story
@pytest.mark.deadline(400)
async def test_a_server_killed_at_any_moment_tells_every_end_with_the_same_id(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with Receiver() as receiver, server(tmp_path) as started:
        tasks: list[str] = []
        for _ in range(8):
            async with httpx2.AsyncClient(base_url=started.url, timeout=60) as http:
                receiver.secret = (await http.get("/v1/callbacks/secret")).json()["secret"]
                body = {"job": "add", "input": {"a": 1}, "run": True, "callback": receiver.url}
                made = await http.post("/v1/tasks/batch", json={"tasks": [body] * 30})
                tasks += [task["id"] for task in made.json()["tasks"]]
                before = len(receiver.received)
                moment = before + chance.randrange(30)
                async with asyncio.timeout(60):
                    while len(receiver.received) < moment:
                        await asyncio.sleep(0.001)
            started.kill()
            started.start()
        async with httpx2.AsyncClient(base_url=started.url, timeout=60) as http:
            by_task: dict[str, set[str]] = {}
            async with asyncio.timeout(120):
                while by_task.keys() != set(tasks):
                    await asyncio.sleep(0.1)
                    for each in list(receiver.received):
                        by_task.setdefault(each.headers["offload-task-id"], set()).add(each.id)
            assert not receiver.refused
            for each in receiver.received:
                stored = (await http.get(f"/v1/tasks/{each.json['data']['id']}")).json()
                assert (each.json["type"], each.json["data"]) == ("task.done", stored)
            assert all(len(ids) == 1 for ids in by_task.values())


@pytest.mark.long
@pytest.mark.story
@pytest.mark.only_on("sqlite", why="a database has other nodes, who wait for 60 s before they think a sender dead")
async def test_what_was_being_sent_when_the_server_was_killed_is_sent_again_at_once(tmp_path: Path) -> None:
    async with zoo() as receivers:
        with server(tmp_path) as started:
            async with httpx2.AsyncClient(base_url=started.url, timeout=60) as http:
                await submit(http, receivers.url("never"))
            (first,) = await receivers.until("never", 1)
            for count in (2, 3, 4):
                started.kill()
                started.start()
                assert (await receivers.until("never", count, seconds=20))[-1] == first


@pytest.mark.long
@pytest.mark.story
async def test_a_server_that_stops_gives_back_what_it_was_sending(tmp_path: Path) -> None:
    async with zoo() as receivers:
        with server(tmp_path) as started:
            async with httpx2.AsyncClient(base_url=started.url, timeout=60) as http:
                task_id = await submit(http, receivers.url("never"))
            (first,) = await receivers.until("never", 1)
            assert started.terminate() == 0
            started.start()
            assert await receivers.until("never", 2, seconds=20) == [first, first]
            async with httpx2.AsyncClient(base_url=started.url, timeout=60) as http:
                assert (await log_of(http, task_id))["state"] == "PENDING"
