"""What servers on PostgreSQL owe to their clients while the database is killed, gone and back."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.backends.cut_wire import CutWire
from tests.backends.postgres import Postgres
from tests.backends.waiting import Watch, watch
from tests.servers import Server

JOBS = Path(__file__).parent / "jobs_for_servers.py"
FAST = ("--lease-seconds", "2", "--heartbeat-seconds", "0.4", "--sweep-seconds", "0.3")
FINAL = {"DONE", "FAILED", "CANCELED"}


def starts(trace: Path, task_id: str) -> int:
    if not trace.exists():
        return 0
    return sum(line.startswith(f"start {task_id} ") for line in trace.read_text().splitlines())


async def submit(http: httpx2.AsyncClient, job: str, **given: Any) -> httpx2.Response:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    return await http.post(f"/v1/jobs/{job}", json=given, headers=key)


async def final(http: httpx2.AsyncClient, task_id: str) -> dict[str, Any]:
    async with asyncio.timeout(90):
        while True:
            answer = await http.get(f"/v1/tasks/{task_id}", params={"wait": 20})
            if answer.status_code == 200 and answer.json()["status"] in FINAL:
                found: dict[str, Any] = answer.json()
                return found
            assert answer.status_code in (200, 503), answer.text
            await asyncio.sleep(0.1)


async def until_started(trace: Path, ids: list[str]) -> None:
    async with asyncio.timeout(60):
        while not all(starts(trace, task_id) for task_id in ids):
            await asyncio.sleep(0.05)


class Flood:
    """Clients that submit without pause, and remember what was promised and how long a refusal took."""

    def __init__(self, http: httpx2.AsyncClient, trace: Path, clock: Watch) -> None:
        self._http, self._trace, self._clock = http, trace, clock
        self.accepted: list[str] = []
        self.refused_after: list[float] = []
        self.stopping = False

    async def client(self) -> None:
        while not self.stopping:
            begun = self._clock.now()
            answer = await submit(self._http, "quick", trace=str(self._trace), n=1)
            if answer.status_code == 202:
                self.accepted.append(answer.json()["id"])
                continue
            assert answer.status_code == 503 and "Retry-After" in answer.headers, answer.text
            self.refused_after.append(self._clock.now() - begun)
            await asyncio.sleep(0.05)


@pytest.mark.deadline(240)
async def test_while_the_database_is_gone_submits_are_refused_and_running_work_goes_on(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with (
        Postgres() as database,
        Server(JOBS, tmp_path / "data", "--store", database.url(), "--workers", "4", *FAST) as s,
    ):
        async with httpx2.AsyncClient(base_url=s.url, timeout=60) as http, watch() as clock:
            naps = [(await submit(http, "nap", trace=str(trace), seconds=n)).json()["id"] for n in (2.0, 6.0)]
            await until_started(trace, naps)
            flood = Flood(http, trace, clock)
            clients = [asyncio.create_task(flood.client()) for _ in range(6)]
            async with asyncio.timeout(60):
                while len(flood.accepted) < 30:
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(database.kill)
            async with asyncio.timeout(60):
                while not flood.refused_after:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(3.0)  # the time that the database is gone: longer than a lease
            before = len(flood.accepted)
            await asyncio.to_thread(database.start)
            async with asyncio.timeout(60):
                while len(flood.accepted) < before + 30:
                    await asyncio.sleep(0.05)
            flood.stopping = True
            await asyncio.gather(*clients)
            assert max(flood.refused_after) < 4.0  # 2 s, and what a busy machine adds
            for task_id in naps:
                told = await final(http, task_id)
                assert (told["status"], told["attempt"], starts(trace, task_id)) == ("DONE", 1, 1)
            for task_id in flood.accepted:
                told = await final(http, task_id)
                assert (told["status"], starts(trace, task_id)) == ("DONE", 1)


@pytest.mark.deadline(240)
async def test_two_nodes_neither_lose_their_work_to_each_other_when_the_database_returns(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with Postgres() as database:
        # they look for lost leases ten times before they renew theirs
        times = ("--lease-seconds", "2", "--heartbeat-seconds", "1", "--sweep-seconds", "0.1")
        flags = ("--store", database.url(), "--workers", "2", *times)
        with Server(JOBS, tmp_path / "one", *flags) as one, Server(JOBS, tmp_path / "two", *flags) as two:
            async with httpx2.AsyncClient(timeout=60) as http:
                naps = []
                for node in (one, two):
                    http.base_url = node.url
                    naps += [(await submit(http, "nap", trace=str(trace), seconds=8.0)).json()["id"] for _ in range(2)]
                await until_started(trace, naps)
                await asyncio.to_thread(database.kill)
                await asyncio.sleep(3.0)  # the time that the database is gone: longer than a lease
                await asyncio.to_thread(database.start)
                for task_id in naps:
                    told = await final(http, task_id)
                    assert (told["status"], told["attempt"], starts(trace, task_id)) == ("DONE", 1, 1)


async def test_a_server_waits_at_its_start_for_a_database_that_is_not_there_yet(tmp_path: Path) -> None:
    with Postgres() as database:
        await asyncio.to_thread(database.shut_down)
        server = Server(JOBS, tmp_path / "data", "--store", database.url())
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        async with asyncio.timeout(30):
            while "waiting up to" not in server.log():
                await asyncio.sleep(0.05)
        await asyncio.to_thread(database.start)
        await starting
        async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
            answer = await submit(http, "quick", trace=str(tmp_path / "trace"), n=3)
            assert (await final(http, answer.json()["id"]))["status"] == "DONE"
        assert await asyncio.to_thread(server.terminate) == 0


@pytest.mark.deadline(120)
async def test_files_of_a_submit_in_doubt_are_there_when_it_is_tried_again(tmp_path: Path) -> None:
    image = {"image": ("dot.bin", b"x" * 70_000)}
    with Postgres() as database:
        async with CutWire(database.port) as wire:
            store = database.url().replace(str(database.port), str(wire.port))
            server = Server(JOBS, tmp_path / "data", "--store", store, "--workers", "1")
            await asyncio.to_thread(server.start)
            try:
                async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
                    stored = 0
                    while True:  # until the cut meets the submit, and no other commit of the server
                        before, key = stored, {"Idempotency-Key": str(uuid.uuid4())}
                        wire.cut("after", for_good=True)
                        answer = await http.post("/v1/jobs/weigh", files=image, headers=key)
                        stored = int(database.run("SELECT count(*) FROM offload.requests"))
                        wire.away = False
                        if (answer.status_code, stored) == (503, before + 1):
                            break
                    async with asyncio.timeout(30):
                        while answer.status_code == 503:
                            answer = await http.post("/v1/jobs/weigh", files=image, headers=key)
                            await asyncio.sleep(0.1)
                    told = await final(http, answer.json()["id"])
                    assert (told["status"], told["result"]) == ("DONE", 70_000), told
                    assert database.run("SELECT count(*) FROM offload.requests") == str(stored)
            finally:
                await asyncio.to_thread(server.terminate)
