"""Nodes of one database, restarted, killed, frozen, or wrong by the clock: nothing is lost, burnt or done twice.

Deeper: `make faults ROUNDS=50`.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fleet import Client, Fleet, fleet
from tests.servers import Server

JOBS = Path(__file__).parent / "jobs_for_servers.py"
ROUNDS = int(os.environ.get("NODE_ROUNDS", "1"))
LEASE_SECONDS, SWEEP_SECONDS = 2.0, 0.2
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(JOBS, tmp_path_factory.mktemp("fleet"), "--grace-seconds", "10") as it:
        yield it


async def traced(trace: Path, word: str, count: int) -> list[list[str]]:
    """Return the lines of a trace once so many begin with a word."""
    async with asyncio.timeout(60):
        while True:
            lines = [line.split() for line in trace.read_text().splitlines()] if trace.exists() else []
            if sum(line[0] == word for line in lines) >= count:
                return lines
            await asyncio.sleep(0.02)


async def history(client: Client, task_id: str) -> list[dict[str, Any]]:
    """Return the states of a task that has ended."""
    text = (await client.ask("GET", f"/v1/tasks/{task_id}/events")).text
    said = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    return [one for one in said if "status" in one]


def ran_on(told: list[dict[str, Any]]) -> list[str]:
    """Return the nodes on which a task ran, one for each attempt."""
    return [one["node"] for one in told if one["status"] == "RUNNING"]


async def stale_results(node: Server) -> int:
    """Return how many results of a node were refused since it started."""
    async with httpx2.AsyncClient(base_url=node.url, timeout=30) as http:
        text = (await http.get("/metrics")).text
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith("offload_stale_results_"))))


@pytest.mark.long
@pytest.mark.story
@pytest.mark.only_on("postgresql", why="several nodes share a database")
@pytest.mark.deadline(240 + 60 * ROUNDS)
async def test_all_nodes_restarted_one_by_one_under_load_fail_no_request_and_burn_no_attempt(
    nodes: Fleet, tmp_path: Path
) -> None:
    async with Client(nodes.serving) as client:
        accepted: list[str] = []
        done = asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                body = {"trace": str(tmp_path / "trace"), "seconds": 0.05}
                accepted.append(await client.submit("nap", body))
                assert (await client.final(accepted[-1]))["status"] == "DONE"

        clients = [asyncio.create_task(load()) for _ in range(8)]
        for _ in range(ROUNDS):
            for node in (*nodes.working, *nodes.serving):
                before = len(accepted)
                assert await asyncio.to_thread(node.terminate) == 0, node.log()
                await asyncio.to_thread(node.start)
                async with asyncio.timeout(30):
                    while len(accepted) < before + 10:
                        await asyncio.sleep(0.02)
        done.set()
        await asyncio.gather(*clients)
        tasks = await asyncio.gather(*(client.final(task_id) for task_id in accepted))
    assert client.failed == 0
    assert Counter((task["status"], task["attempt"]) for task in tasks) == {("DONE", 1): len(set(accepted))}


@pytest.mark.long
@pytest.mark.story
@pytest.mark.only_on("postgresql", why="several nodes share a database")
@pytest.mark.deadline(90)
async def test_a_node_that_stood_still_for_three_leases_changes_nothing_when_it_goes_on(
    nodes: Fleet, tmp_path: Path
) -> None:
    trace, gate = tmp_path / "trace", tmp_path / "gate"
    async with Client(nodes.serving) as client:
        ids = [await client.submit("wait_for", {"trace": str(trace), "gate": str(gate)}) for _ in range(4)]
        await traced(trace, "start", 4)
        frozen = nodes.working[0]
        frozen.pause()
        try:
            await asyncio.sleep(3 * LEASE_SECONDS)  # the time is the fault
            gate.touch()
            ended = [await client.final(task_id) for task_id in ids]
        finally:
            frozen.resume()
        lost = 0
        for task in ended:
            places = ran_on(await history(client, task["id"]))
            assert places in ([frozen.name, nodes.working[1].name], [nodes.working[1].name])
            assert (task["status"], task["attempt"]) == ("DONE", len(places))
            lost += len(places) == 2
        assert lost
        async with asyncio.timeout(30):
            while await stale_results(frozen) < lost:
                await asyncio.sleep(0.05)
        for before in ended:
            assert await client.final(before["id"]) == before
            told = [one["status"] for one in await history(client, before["id"])]
            assert (told.count("DONE"), told.count("RUNNING")) == (1, before["attempt"])
        more = [await client.submit("nap", {"trace": str(trace), "seconds": 0.2}) for _ in range(4)]
        assert {(await client.final(task_id))["attempt"] for task_id in more} == {1}


@pytest.mark.story
@pytest.mark.only_on("postgresql", why="several nodes share a database")
@pytest.mark.deadline(120 + 20 * ROUNDS)
async def test_the_tasks_of_a_killed_node_are_back_when_its_leases_and_a_sweep_have_passed(
    nodes: Fleet, tmp_path: Path
) -> None:
    async with Client(nodes.serving) as client:
        for number in range(ROUNDS):
            trace, gate = tmp_path / f"trace-{number}", tmp_path / f"gate-{number}"
            ids = [await client.submit("wait_for", {"trace": str(trace), "gate": str(gate)}) for _ in range(4)]
            await traced(trace, "start", 4)
            killed = nodes.working[number % 2]
            at = time.monotonic()
            killed.kill()
            gate.touch()
            tasks = [await client.final(task_id) for task_id in ids]
            took = time.monotonic() - at
            killed.start()
            assert {task["status"] for task in tasks} == {"DONE"}
            assert {task["attempt"] for task in tasks} <= {1, 2}
            assert any(task["attempt"] == 2 for task in tasks)
            assert took < LEASE_SECONDS + SWEEP_SECONDS + 15.0  # machines that run tests may be slow


@pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed; tests/install_tools.sh installs it")
@pytest.mark.deadline(240)
async def test_nodes_whose_clocks_are_an_hour_apart_agree_on_leases_and_due_times(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with fleet(JOBS, tmp_path, serving=1, working=0) as it:
        ahead = it.node("ahead", "work", "--workers", "1", env=wrong_clock("+3600"))
        behind = it.node("behind", "work", "--workers", "1", env=wrong_clock("-3600"))
        it.working += [ahead, behind]  # they are stopped with it
        for node in it.working:
            node.begin()
        for node in it.working:
            node.await_ready()
        async with Client(it.serving) as client:
            ids = [await client.submit("nap", {"trace": str(trace), "seconds": 2 * LEASE_SECONDS}) for _ in "ab"]
            await traced(trace, "start", 2)
            later = await client.ask(
                "POST", "/v1/jobs/nap", json={"trace": str(trace), "seconds": 0}, headers={"Offload-Delay": "1"}
            )
            tasks = [await client.final(task_id) for task_id in (*ids, later.json()["id"])]
            told = [ran_on(await history(client, task_id)) for task_id in ids]
    assert {(task["status"], task["attempt"]) for task in tasks} == {("DONE", 1)}
    assert sorted(told) == sorted([[ahead.name], [behind.name]])


def wrong_clock(seconds: str) -> dict[str, str]:
    """Return what makes a process live at another time; its monotonic clock is right."""
    return {"LD_PRELOAD": str(FAKETIME[0]), "FAKETIME": seconds, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
