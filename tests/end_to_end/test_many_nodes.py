"""A server without workers, one with, and two nodes that only work, on one database: clients notice nothing of that."""

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.backends.postgres import Postgres
from tests.fleet import Client, Fleet

JOBS = Path(__file__).parent / "fleet_jobs.py"
SLOW = ("--sweep-seconds", "30", "--heartbeat-seconds", "10", "--lease-seconds", "30")
"""What is quick then is quick by the bell."""


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("fleet")
    with Postgres() as server:
        it = Fleet(JOBS, home, server.create("one"), *SLOW, serving=1, working=2)
        it.serving.append(it.node("serves-and-works", "serve", "--workers", "1"))
        with it:
            yield it


def both(nodes: Fleet) -> tuple[httpx2.AsyncClient, httpx2.AsyncClient]:
    one, two = (httpx2.AsyncClient(base_url=server.url, timeout=60) for server in nodes.serving)
    return one, two


@pytest.mark.story
@pytest.mark.only_on("postgresql", why="several nodes share a database")
async def test_whichever_server_is_asked_it_knows_of_the_task_and_wakes_who_waits(nodes: Fleet) -> None:
    one, two = both(nodes)
    async with one, two, asyncio.timeout(25):  # less than a sweep: by the bell alone
        ids = [(await one.post("/v1/jobs/double", json={"n": n})).json()["id"] for n in range(20)]
        tasks = await asyncio.gather(*(two.get(f"/v1/tasks/{task_id}", params={"wait": 50}) for task_id in ids))
        assert [task.json()["result"] for task in tasks] == [2 * n for n in range(20)]
        answer = await two.post("/v1/jobs/double", json={"n": 4}, headers={"Prefer": "wait=20"})
        assert (answer.status_code, answer.text) == (200, "8")


@pytest.mark.story
@pytest.mark.only_on("postgresql", why="several nodes share a database")
async def test_a_lease_that_one_server_gave_is_good_at_the_other(nodes: Fleet) -> None:
    one, two = both(nodes)
    async with one, two, asyncio.timeout(25):
        waiting = asyncio.create_task(two.post("/v1/leases", json={"jobs": ["elsewhere"], "wait": 20}))
        task_id = (await one.post("/v1/jobs/elsewhere", json={"n": 6})).json()["id"]
        (lent,) = (await waiting).json()
        assert (lent["task"], lent["input"]) == (task_id, {"n": 6})
        own = f"/v1/leases/{lent['lease']}"
        for server in (one, two):
            beat = await server.post(f"{own}/heartbeat", json={"progress": {"fraction": 0.5}})
            assert (beat.status_code, beat.json()["canceled"]) == (200, False), beat.text
        assert (await one.post(f"{own}/done", json=7)).json() == {"task": task_id, "status": "DONE"}
        assert (await two.post(f"{own}/done", json=7)).status_code == 200
        assert (await two.post(f"{own}/heartbeat")).json()["code"] == "LeaseLost"
        assert (await two.get(f"/v1/tasks/{task_id}/result?wait=20")).json() == 7


@pytest.mark.story
@pytest.mark.only_on("postgresql", why="several nodes share a database")
async def test_a_stream_of_one_server_tells_all_that_happens_elsewhere(nodes: Fleet, tmp_path: Path) -> None:
    one, two = both(nodes)
    async with one, two, asyncio.timeout(25):
        task_id = (await one.post("/v1/jobs/tell", json={"gate": str(tmp_path / "gate")})).json()["id"]
        kinds, data = [], []
        async with two.stream("GET", f"/v1/tasks/{task_id}/events") as stream:
            async for line in stream.aiter_lines():
                if line.startswith("event: "):
                    kinds.append(line.removeprefix("event: "))
                if line.startswith("data: "):
                    data.append(json.loads(line.removeprefix("data: ")))
                if {"progress", "log", "output"} <= set(kinds):
                    (tmp_path / "gate").touch()
        assert [said for kind, said in zip(kinds, data, strict=True) if kind == "output"] == [7, 8]
        assert [said["status"] for kind, said in zip(kinds, data, strict=True) if kind == "status"] == [
            "QUEUED", "RUNNING", "DONE"
        ]  # fmt: skip
        assert "hello from" in (await one.get(f"/v1/tasks/{task_id}/logs")).text


@pytest.mark.story
@pytest.mark.only_on("postgresql", why="several nodes share a database")
async def test_a_cancel_at_one_server_stops_the_attempt_wherever_it_runs(nodes: Fleet, tmp_path: Path) -> None:
    one, two = both(nodes)
    async with one, two, asyncio.timeout(25):
        task_id = (await one.post("/v1/jobs/tell", json={"gate": str(tmp_path / "never")})).json()["id"]
        while (await one.get(f"/v1/tasks/{task_id}")).json()["status"] != "RUNNING":
            await asyncio.sleep(0.02)
        assert (await two.post(f"/v1/tasks/{task_id}/cancel")).status_code in (200, 202)
        ended = (await one.get(f"/v1/tasks/{task_id}", params={"wait": 20})).json()
        assert (ended["status"], ended["reason"]) == ("CANCELED", "canceled")


@pytest.mark.story
@pytest.mark.only_on("postgresql", why="several nodes share a database")
async def test_a_queue_paused_at_one_server_is_paused_for_all_nodes(nodes: Fleet) -> None:
    one, two = both(nodes)
    async with one, two, asyncio.timeout(40):
        await one.post("/v1/queues/files/pause")
        for node in nodes.nodes:
            while 'offload_queue_paused{queue="files"} 1.0' not in (await one.get(f"{node.url}/metrics")).text:
                await asyncio.sleep(0.02)
        sent = await two.post("/v1/jobs/turn", files={"text": ("a.txt", b"abc")})
        task_id = sent.json()["id"]
        after = await two.post("/v1/jobs/double", json={"n": 4}, headers={"Prefer": "wait=20"})
        assert after.text == "8", "what came later has passed it"
        assert (await one.get(f"/v1/tasks/{task_id}")).json()["status"] == "QUEUED"
        await two.post("/v1/queues/files/resume")
        assert (await one.get(f"/v1/tasks/{task_id}", params={"wait": 20})).json()["status"] == "DONE"
        result = await one.get(f"/v1/tasks/{task_id}/result")
        assert (result.content, result.headers["Content-Type"].partition(";")[0]) == (b"cba", "text/plain")


@pytest.mark.story
@pytest.mark.only_on("postgresql", why="several nodes share a database")
async def test_the_same_request_to_two_servers_at_once_makes_one_task(nodes: Fleet) -> None:
    one, two = both(nodes)
    async with one, two:
        for _ in range(10):
            key = {"Idempotency-Key": str(uuid.uuid4())}
            asked = [http.post("/v1/jobs/double", json={"n": 1}, headers=key) for http in (one, two)]
            first, second = await asyncio.gather(*asked)
            assert first.json()["id"] == second.json()["id"], (first.text, second.text)


async def test_the_nodes_know_each_other(nodes: Fleet) -> None:
    one, two = both(nodes)
    async with one, two:
        assert (await one.get("/readyz")).status_code == 200
        found = {node["name"]: node for node in (await two.get("/v1/nodes")).json()["nodes"]}
        assert {node.name for node in nodes.working} <= set(found)
        assert sorted((node["present"], node["serves"], node["workers"]) for node in found.values()) == [
            (True, False, 2), (True, False, 2), (True, True, 0), (True, True, 1)
        ]  # fmt: skip
    async with httpx2.AsyncClient(base_url=nodes.working[0].url) as http:
        assert (await http.get("/readyz")).status_code == 200
        assert "offload_attempts" in (await http.get("/metrics")).text
        assert (await http.post("/v1/jobs/double", json={"n": 1})).json()["code"] == "NotAvailable"
    shown = run("nodes", "--url", nodes.serving[0].url)
    assert shown.stdout.count(" there ") == 4


@pytest.mark.story
@pytest.mark.only_on("postgresql", why="several nodes share a database")
async def test_a_burst_to_both_servers_is_shared_by_the_nodes_that_work(nodes: Fleet) -> None:
    async with Client(nodes.serving) as client:
        workers = set[str]()
        while not workers > {node.name for node in nodes.working}:  # and the server that has a worker helped
            # again when one of them stood still for as long as the others needed for all of it
            ids = await asyncio.gather(*(client.submit("double", {"n": n}) for n in range(200)))
            ended = await asyncio.gather(*(client.final(task_id) for task_id in ids))
            assert {(task["status"], task["attempt"]) for task in ended} == {("DONE", 1)}
            for task in ended:
                workers |= set(await _nodes_of(client, task["id"]))


async def _nodes_of(client: Client, task_id: str) -> list[str]:
    """Return the nodes on which a task ran."""
    text = (await client.ask("GET", f"/v1/tasks/{task_id}/events")).text
    said: list[dict[str, Any]] = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    return [one["node"] for one in said if one.get("status") == "RUNNING"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "offload", *words], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", [("work",), ("serve", "--no-workers")], ids=lambda words: words[0])
def test_without_a_database_that_nodes_share_nobody_works_for_another(words: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*words, str(JOBS), "--data", str(tmp_path / "data"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "one process owns a SQLite file" in done.stderr and "postgresql://" in done.stderr


def test_what_a_node_is_told_to_do_must_be_something() -> None:
    store = ("--store", "postgresql://nobody@127.0.0.1:1/none")
    done = run("work", str(JOBS), *store, "--workers", "0")
    assert done.returncode == 2 and "say how many" in done.stderr
    assert run("work", *store).returncode == 2
