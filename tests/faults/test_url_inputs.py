"""A server that is killed while it fetches input files: what had not begun is no attempt, and runs all the same."""

import asyncio
import hashlib
from pathlib import Path

import httpx2
import pytest

from tests.egress.test_downloads import DATA, gives
from tests.egress.zoo import Visit, Zoo
from tests.servers import Server

pytestmark = pytest.mark.story

JOBS = Path(__file__).parents[1] / "end_to_end" / "input_jobs.py"
SOON = ("--lease-seconds", "1", "--heartbeat-seconds", "0.3", "--sweep-seconds", "0.2", "--egress-allow", "127.0.0.0/8")


class Held:
    """Keep the first visitors waiting, answer those that come later."""

    def __init__(self, visitors: int) -> None:
        self.left = visitors
        self.came = asyncio.Event()

    async def __call__(self, visit: Visit) -> None:
        if self.left:
            self.left -= 1
            await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nab")
            self.came.set()
            await asyncio.Event().wait()
        await gives(DATA)(visit)


@pytest.mark.long
@pytest.mark.deadline(120)
async def test_a_fetch_that_was_killed_with_its_server_burns_no_attempt_even_of_a_task_tried_once(
    tmp_path: Path,
) -> None:
    held = Held(2)
    async with Zoo({"/slow": held}).open() as zoo:
        server, task_id = Server(JOBS, tmp_path / "data", *SOON), ""
        try:
            for _ in range(2):
                held.came.clear()
                await asyncio.to_thread(server.start)
                async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
                    if not task_id:
                        made = await http.post("/v1/jobs/digest_once", json={"file": zoo.url("/slow")})
                        task_id = made.json()["id"]
                    async with asyncio.timeout(60):
                        await held.came.wait()
                await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            async with httpx2.AsyncClient(base_url=server.url, timeout=90) as http:
                async with asyncio.timeout(60):
                    while (task := (await http.get(f"/v1/tasks/{task_id}?wait=20")).json())["finished_at"] is None:
                        pass
        finally:
            await asyncio.to_thread(server.__exit__, None, None, None)
    assert (task["status"], task["attempt"], task["result"]) == ("DONE", 1, hashlib.sha256(DATA).hexdigest())
