"""What a 202 means when the power fails. Deep runs: `make faults`."""

import asyncio
import hashlib
import os
import random
from pathlib import Path

import httpx2
import pytest

from tests.faults.disks import Disk, can_mount
from tests.faults.test_servers import FAST, JOBS, Flood, final_states
from tests.servers import Server

CUTS = int(os.environ.get("POWER_CUTS", "3"))
SEED = int(os.environ.get("POWER_SEED", "1"))
needs_root = pytest.mark.skipif(not can_mount(), reason="needs root and loop devices, to cut the power of a disk")
ROOM = ("--disk-free-min-bytes", "8MB")
ENOUGH = 10
"""Tasks that are promised before each cut, beside a file."""


async def _flood_until_cut(server: Server, disk: Disk, trace: Path, seconds: float) -> tuple[list[str], dict[str, str]]:
    """Return the ids that were promised before the cut, and the SHA-256 of the files that were."""
    flood, files = Flood(server.url, trace), {}

    async def upload() -> None:
        async with httpx2.AsyncClient(base_url=server.url, timeout=10) as http:
            while True:
                body = random.randbytes(200_000)
                answer = await http.post("/v1/jobs/weigh", content=body, headers={"Content-Type": "image/jpeg"})
                if answer.status_code == 202:
                    files[answer.json()["id"]] = hashlib.sha256(body).hexdigest()

    running = asyncio.create_task(flood.run(clients=6))
    uploading = asyncio.create_task(upload())
    await asyncio.sleep(seconds)
    async with asyncio.timeout(60):  # a machine that is busy has taken nothing yet
        while len(flood.accepted) <= ENOUGH or not files:
            await asyncio.sleep(0.01)
    promised, promised_files = list(flood.accepted), dict(files)  # read before the cut: later answers count for nothing
    disk.cut_power()
    flood.stop()
    server.kill()
    uploading.cancel()
    await asyncio.gather(running, uploading, return_exceptions=True)
    return promised, promised_files


@needs_root
@pytest.mark.deadline(120 + 40 * CUTS)
async def test_nothing_that_was_accepted_is_lost_when_the_power_is_cut(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    disk, trace = Disk(tmp_path / "disk", tmp_path / "mount", megabytes=256), tmp_path / "trace"
    promised: list[str] = []
    files: dict[str, str] = {}
    for _ in range(CUTS):
        disk.plug_in()
        server = Server(JOBS, disk.mount / "data", *FAST, *ROOM, log=tmp_path / "server.log").start()
        more, more_files = await _flood_until_cut(server, disk, trace, chance.uniform(0.3, 1.5))
        promised += more
        files |= more_files
        disk.unplug()
    assert len(promised) > ENOUGH * CUTS and files
    disk.plug_in()
    try:
        with Server(JOBS, disk.mount / "data", *FAST, *ROOM, log=tmp_path / "server.log") as server:
            async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
                tasks = await final_states(http, [*promised, *files])
                assert {task["status"] for task in tasks.values()} == {"DONE"}
                for task_id, sha256 in files.items():
                    kept = await http.get(f"/v1/tasks/{task_id}/input/image")
                    assert hashlib.sha256(kept.content).hexdigest() == sha256
    finally:
        disk.unplug()
    print(f"{len(promised) + len(files):,} accepted tasks, {CUTS} cuts, 0 lost")
