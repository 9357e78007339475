"""Input files by URL, with a real server that fetches them and real sources that misbehave."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.egress.test_downloads import DATA, TAG, Breaking, gives
from tests.egress.zoo import Behaviour, Visit, Zoo, redirects
from tests.servers import Server

pytestmark = pytest.mark.story

JOBS = Path(__file__).with_name("input_jobs.py")
SHA = hashlib.sha256(DATA).hexdigest()
SOON = {"OFFLOAD_LEASE_SECONDS": "2", "OFFLOAD_HEARTBEAT_SECONDS": "0.5", "OFFLOAD_SWEEP_SECONDS": "0.5"}


class Beside:
    """A server, with a zoo of sources beside it."""

    def __init__(self, server: Server, zoo: Zoo) -> None:
        self.server, self.zoo = server, zoo

    async def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        async with httpx2.AsyncClient(base_url=self.server.url, timeout=90) as http:
            return await http.request(method, path, **more)

    async def call(self, job: str, path: str) -> httpx2.Response:
        """Run a job on the file at a path of the zoo, and return the answer to its result."""
        made = await self.ask("POST", f"/v1/jobs/{job}", json={"file": self.zoo.url(path)})
        assert made.status_code == 202, made.text
        return await self.result(made.json()["id"])

    async def result(self, task_id: str) -> httpx2.Response:
        async with asyncio.timeout(90):
            while (answer := await self.ask("GET", f"/v1/tasks/{task_id}/result?wait=20")).status_code == 202:
                pass
        return answer


@asynccontextmanager
async def service(tmp_path: Path, behaviours: dict[str, Behaviour], **env: str) -> AsyncIterator[Beside]:
    env = {"OFFLOAD_EGRESS_ALLOW": "127.0.0.0/8", **env}
    server = Server(JOBS, tmp_path / "data", "--workers", "1", "--log-level", "debug", env=env)
    async with Zoo(behaviours).open() as zoo:
        await asyncio.to_thread(server.start)
        try:
            yield Beside(server, zoo)
        finally:
            await asyncio.to_thread(server.__exit__, None, None, None)


async def test_a_job_gets_the_file_that_its_input_names_though_the_source_breaks_off(tmp_path: Path) -> None:
    named = 'Content-Disposition: attachment; filename="cat.jpg"'
    async with service(tmp_path, {"/cat": Breaking(TAG, "Content-Type: image/jpeg", named, breaks=2)}) as it:
        answer = await it.call("digest", "/cat?signature=hush")
        assert answer.json() == {"name": "cat.jpg", "type": "image/jpeg", "sha256": SHA}
        assert [visit.headers.get("range") for visit in it.zoo.visits] == [None, *["bytes=70000-", "bytes=140000-"]]
        tasks = (await it.ask("GET", "/v1/tasks")).json()["tasks"]
        shown = tasks[0]["input"]["file"]
        assert (shown["name"], shown["size"]) == ("cat.jpg", len(DATA))
        assert (await it.ask("GET", shown["url"])).content == DATA
        assert "hush" not in it.server.log()


@pytest.mark.long
async def test_a_source_that_fails_for_a_while_is_asked_again(tmp_path: Path) -> None:
    answers = iter(["500 No", "503 No"])

    async def fails(visit: Visit) -> None:
        status = next(answers, "200 OK")
        await visit.answer(status, DATA if status == "200 OK" else b"")

    async with service(tmp_path, {"/cat.jpg": fails}) as it:
        assert (await it.call("digest", "/cat.jpg")).json() == {"name": "cat.jpg", "type": "image/jpeg", "sha256": SHA}
        assert len(it.zoo.visits) == 3


@pytest.mark.long
async def test_a_file_that_cannot_be_had_fails_the_task_and_says_why(tmp_path: Path) -> None:
    sources = {"/large": gives(DATA), "/away": redirects("http://169.254.169.254/latest/meta-data")}
    async with service(tmp_path, sources, OFFLOAD_UPLOAD_BYTES_MAX="1000") as it:
        for path, kind, attempts in (
            ("/missing?signature=hush", "SourceUnavailable", 0),
            ("/large", "BodyTooLarge", 0),
            ("/away", "Unreachable", 2),
        ):
            answer = await it.call("digest", path)
            problem = answer.json()
            assert (answer.status_code, problem["code"], problem["reason"]) == (409, "TaskFailed", "input_unavailable")
            assert problem["error"]["type"] == kind, problem
            assert "hush" not in answer.text
            task = (await it.ask("GET", "/v1/tasks?limit=1")).json()["tasks"][0]
            assert task["attempt"] == attempts
        assert "hush" not in it.server.log()


async def test_a_slow_source_does_not_hold_up_other_tasks_and_a_cancel_ends_it(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def dawdles(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n")
        begun.set()
        while True:
            await visit.say(b"x" * 2_000)
            await asyncio.sleep(0.1)

    async with service(tmp_path, {"/slow": dawdles, "/quick": gives(DATA)}, **SOON) as it:
        slow = (await it.ask("POST", "/v1/jobs/digest", json={"file": it.zoo.url("/slow?signature=hush")})).json()
        async with asyncio.timeout(60):
            await begun.wait()
        assert (await it.call("copy", "/quick")).content == DATA
        shown = await it.ask("GET", f"/v1/tasks/{slow['id']}")
        assert shown.json()["status"] == "RUNNING" and "hush" not in shown.text
        assert (await it.ask("POST", f"/v1/tasks/{slow['id']}/cancel")).status_code == 202
        assert (await it.result(slow["id"])).json()["code"] == "TaskIsCanceled"
        async with asyncio.timeout(60):
            await it.zoo.visits[0].left.wait()


async def test_a_server_that_is_killed_while_it_fetches_fetches_again(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def second_time(visit: Visit) -> None:
        if begun.is_set():
            await visit.answer("200 OK", DATA)
        else:
            await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", DATA[:90_000])
            begun.set()
            await visit.reader.read()

    async with service(tmp_path, {"/cat": second_time}, **SOON) as it:
        made = (await it.ask("POST", "/v1/jobs/digest", json={"file": it.zoo.url("/cat")})).json()
        async with asyncio.timeout(60):
            await begun.wait()
        await asyncio.to_thread(it.server.kill)
        await asyncio.to_thread(it.server.start)
        assert (await it.result(made["id"])).json()["sha256"] == SHA
