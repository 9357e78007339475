"""A full disk is said, survived and forgotten once there is room again."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from tests.faults.disks import can_mount, small_disk
from tests.faults.test_servers import FAST, JOBS, final_states
from tests.servers import Server

needs_root = pytest.mark.skipif(not can_mount(), reason="needs root, to mount a disk that is full soon")


@needs_root
@pytest.mark.deadline(180)
@pytest.mark.parametrize("watched", ["8MB", "0"])  # refused in time, and the hard way: when nothing can be written
async def test_submits_are_refused_while_the_disk_is_full_and_taken_when_it_is_not(
    tmp_path: Path, watched: str
) -> None:
    trace = tmp_path / "trace"
    flags = (*FAST, "--disk-free-min-bytes", watched)
    with small_disk(tmp_path / "disk", megabytes=40) as mount:
        ballast = mount / "ballast"
        with Server(JOBS, mount / "data", *flags, log=tmp_path / "server.log") as server:
            async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:

                async def submit() -> httpx2.Response:
                    return await http.post("/v1/jobs/quick", json={"trace": str(trace), "n": 1})

                accepted = [(await submit()).json()["id"]]
                await _fill(ballast)
                refused = None
                async with asyncio.timeout(60):
                    while refused is None:
                        answer = await submit()
                        if answer.status_code == 202:
                            accepted.append(answer.json()["id"])
                        else:
                            refused = answer
                assert refused.status_code in (503, 507), refused.text
                assert refused.headers["Content-Type"] == "application/problem+json"
                assert "Retry-After" in refused.headers
                assert (await http.get(f"/v1/tasks/{accepted[0]}")).status_code == 200
                assert (await http.get("/v1/tasks")).status_code == 200
                assert (await http.get("/healthz")).status_code == 200
                ballast.unlink()
                async with asyncio.timeout(30):
                    while (healed := await submit()).status_code != 202:
                        assert healed.status_code in (503, 507), healed.text
                        await asyncio.sleep(0.1)
                accepted.append(healed.json()["id"])
                tasks = await final_states(http, accepted)
                assert {task["status"] for task in tasks.values()} == {"DONE"}


async def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass
