"""Event streams of a real server: whole, resumable, and cheap while nothing happens."""

import asyncio
import contextlib
import json
import random
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.cutting import CuttingProxy
from tests.servers import Server

JOBS = Path(__file__).parent / "jobs_that_talk.py"
Event = tuple[int, str, Any]


async def events_of(http: httpx2.AsyncClient, url: str, last: int = 0) -> AsyncIterator[Event]:
    headers = {"Last-Event-ID": str(last)} if last else {}
    async with http.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield int(fields["id"]), fields["event"], json.loads(fields["data"])
                fields = {}


@pytest.mark.story
async def test_outputs_progress_and_output_lines_arrive_while_the_job_runs(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
            task = (await http.post("/v1/jobs/count", json={"to": 5, "pause_seconds": 0.3})).json()
            seen = [event async for event in events_of(http, task["links"]["events"])]
            result = (await http.get(task["links"]["result"])).json()
    assert [n for n, _, _ in seen] == list(range(1, len(seen) + 1))
    assert [data for _, kind, data in seen if kind == "output"] == [1, 2, 3, 4, 5] == result
    assert [data["status"] for _, kind, data in seen if kind == "status"] == ["QUEUED", "RUNNING", "DONE"]
    assert "counted 5\n" in "".join(data for _, kind, data in seen if kind == "log")
    progress = [data for _, kind, data in seen if kind == "progress"]
    assert progress and progress[0]["message"] == "at 1" and "at" in progress[0]


CUTS = 1_000
READERS = 6


@pytest.mark.long
@pytest.mark.story
@pytest.mark.deadline(180)
async def test_streams_cut_at_1000_random_points_and_resumed_have_neither_gap_nor_repeat(tmp_path: Path) -> None:
    chance = random.Random(3)

    def cut_after() -> int:  # most cuts come early; some leave room for the largest event, a piece of the log
        return chance.randrange(1, chance.choice((1_500, 1_500, 1_500, 40_000)))

    with Server(JOBS, tmp_path / "data") as server, CuttingProxy(server.url, cut_after=cut_after) as proxy:
        async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
            task = (await http.post("/v1/jobs/count", json={"to": 1500})).json()
            url = task["links"]["events"]
            read = await asyncio.gather(*(_resumed(proxy.url + url) for _ in range(READERS)))
            while proxy.cuts < CUTS:  # a fast job is told in fewer pieces: then it is read again from the beginning
                read.append(await _resumed(proxy.url + url))
            stored = [event async for event in events_of(http, url)]
    assert [n for n, _, _ in stored] == list(range(1, len(stored) + 1))
    assert [data for _, kind, data in stored if kind == "output"] == list(range(1, 1501))
    assert all(seen == stored for seen in read)


async def _resumed(url: str) -> list[Event]:
    """Read a stream to its end, however often it is cut."""
    seen: list[Event] = []
    async with httpx2.AsyncClient(timeout=30) as http:
        while not (seen and seen[-1][1] == "status" and seen[-1][2]["status"] == "DONE"):
            with contextlib.suppress(httpx2.TransportError):
                async for event in events_of(http, url, seen[-1][0] if seen else 0):
                    seen.append(event)
    return seen


@pytest.mark.story
@pytest.mark.deadline(120)
async def test_an_open_stream_ends_when_the_server_stops_and_goes_on_with_the_next(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Server(JOBS, tmp_path / "data", "--grace-seconds", "0") as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
            task = (await http.post("/v1/jobs/wait_for", json={"gate": str(gate)})).json()
            url = task["links"]["events"]
            seen: list[Event] = []
            async for event in events_of(http, url):
                seen.append(event)
                if len(seen) == 2:
                    stopping = asyncio.create_task(asyncio.to_thread(server.terminate))
            assert await stopping == 0
    gate.touch()
    with Server(JOBS, tmp_path / "data") as server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
            seen += [event async for event in events_of(http, url, seen[-1][0])]
    assert [n for n, _, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][2]["status"] == "DONE"


STREAMS = 2_000
STREAM_BYTES_MAX = 40 * 1024


@pytest.mark.deadline(180)
async def test_two_thousand_idle_streams_cost_little_each_and_all_hear_of_the_end(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3 * STREAMS:
        pytest.skip(f"needs {3 * STREAMS} open files, and only {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 * STREAMS, hard))
    try:
        gate = tmp_path / "gate"
        with Server(JOBS, tmp_path / "data") as server:
            host, port = server.url.removeprefix("http://").split(":")
            async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
                task = (await http.post("/v1/jobs/wait_for", json={"gate": str(gate)})).json()
                process = psutil.Process(server.pid)
                warm = [await _open(host, int(port), task["links"]["events"]) for _ in range(100)]
                before_bytes = process.memory_info().rss
                streams = [await _open(host, int(port), task["links"]["events"]) for _ in range(STREAMS)]
                each_bytes = (process.memory_info().rss - before_bytes) / STREAMS
                gate.touch()
                told = await asyncio.gather(*(reader.read() for reader, _ in warm + streams))
                for _, writer in warm + streams:
                    writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(b'"status":"DONE"' in text for text in told)
    assert each_bytes < STREAM_BYTES_MAX


async def _open(host: str, port: int, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a stream and read until its first events are there."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
    await reader.readuntil(b"event: status")
    return reader, writer
