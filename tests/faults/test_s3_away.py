"""The object store is killed and paused under load: nothing accepted is lost, and no row points to nothing."""

import asyncio
import os
import signal
import uuid
from pathlib import Path

import httpx2
import pytest

from offload.blobs.cache import Cache
from offload.blobs.objects import ObjectBlobs
from offload.blobs.opening import BlobPlace, open_store, parse_place
from offload.core.errors import StoreUnavailable
from tests.backends.s3 import S3
from tests.servers import Server

JOBS = Path(__file__).parents[1] / "end_to_end" / "input_jobs.py"
ROUNDS = int(os.environ.get("S3_KILLS", "3"))
CLIENTS = 6


class Load:
    """Clients that submit files until they are told to stop, and try again what was refused."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client
        self._stop = asyncio.Event()
        self.accepted: dict[str, bytes] = {}
        self.refused = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._submit_on() for _ in range(CLIENTS)))

    def stop(self) -> None:
        self._stop.set()

    async def _submit_on(self) -> None:
        while not self._stop.is_set():
            data = uuid.uuid4().bytes * 1000
            answer = await self._client.post("/v1/jobs/copy", files={"file": data})
            if answer.status_code == 202:
                self.accepted[answer.json()["id"]] = data
            else:
                assert (answer.status_code, answer.json()["code"]) == (503, "StoreUnavailable"), answer.text
                assert int(answer.headers["retry-after"]) > 0
                self.refused += 1
            await asyncio.sleep(0.02)

    async def until(self, accepted: int) -> None:
        while len(self.accepted) < accepted:
            await asyncio.sleep(0.02)


async def ended(client: httpx2.AsyncClient, task_id: str) -> dict[str, object]:
    while True:
        task: dict[str, object] = (await client.get(f"/v1/tasks/{task_id}?wait=5")).json()
        if task["status"] in ("DONE", "FAILED", "CANCELED"):
            return task


@pytest.mark.deadline(60 + 30 * ROUNDS)
async def test_a_store_that_is_killed_under_load_loses_nothing(tmp_path: Path) -> None:
    with (
        S3(tmp_path / "s3") as s3,
        Server(JOBS, tmp_path / "data", "--blobs", s3.url, "--workers", "2", env=s3.environ) as server,
    ):
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as client:
            load = Load(client)
            loading = asyncio.create_task(load.run())
            for _ in range(ROUNDS):
                await load.until(len(load.accepted) + 10)
                refused = load.refused
                await asyncio.to_thread(s3.kill)
                while load.refused < refused + CLIENTS and not loading.done():
                    await asyncio.sleep(0.02)
                await asyncio.to_thread(s3.start)
            await load.until(len(load.accepted) + 10)
            load.stop()
            await loading
            for task_id, data in load.accepted.items():
                task = await ended(client, task_id)
                assert (task["status"], task["attempt"]) == ("DONE", 1), task
                assert (await client.get(f"/v1/tasks/{task_id}/result")).content == data
            assert load.refused >= ROUNDS * CLIENTS and s3.unfinished() == []


async def test_a_store_that_is_killed_while_jobs_run_gets_their_results_when_it_is_back(tmp_path: Path) -> None:
    with (
        S3(tmp_path / "s3") as s3,
        Server(JOBS, tmp_path / "data", "--blobs", s3.url, "--workers", "1", env=s3.environ) as server,
    ):
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as client:
            first = (await client.post("/v1/jobs/copy", files={"file": b"one"})).json()["id"]
            await ended(client, first)
            await client.post("/v1/queues/default/pause")
            waiting = [(await client.post("/v1/jobs/copy", files={"file": b"two"})).json()["id"] for _ in range(3)]
            await asyncio.to_thread(s3.kill)
            await client.post("/v1/queues/default/resume")
            while (await client.get(f"/v1/tasks/{waiting[0]}")).json()["status"] != "RUNNING":
                await asyncio.sleep(0.02)
            # what needs no file goes on meanwhile
            assert (await client.get("/v1/tasks")).status_code == (await client.get("/readyz")).status_code == 200
            assert (await client.get(f"/v1/tasks/{first}/result")).json()["code"] == "StoreUnavailable"
            await asyncio.to_thread(s3.start)
            for task_id in waiting:
                task = await ended(client, task_id)
                assert (task["status"], task["attempt"]) == ("DONE", 1), task
                assert (await client.get(f"/v1/tasks/{task_id}/result")).content == b"two"


async def test_a_store_that_says_nothing_any_more_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with S3(tmp_path / "s3") as s3:
        for name, value in s3.environ.items():
            monkeypatch.setenv(name, value)
        place = parse_place(s3.url)
        assert isinstance(place, BlobPlace) and s3.process is not None
        store = open_store(place, {}, stall_seconds=0.3)
        cache = Cache(tmp_path / "cache", bytes_max=1000, idle_seconds_max=10.0)
        blobs = ObjectBlobs(store, cache, copier=store, place="s3")
        await blobs.start()
        writer = blobs.writer("t/1/in/0", bytes_max=100)
        await writer.write(b"one")
        s3.process.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable):
            await writer.commit()
        with pytest.raises(StoreUnavailable):
            await blobs.local_path("t/1/in/0")
        with pytest.raises(StoreUnavailable):
            await blobs.delete("t/1")
        s3.process.send_signal(signal.SIGCONT)
        await blobs.delete("t/1")
        assert s3.names() == []
