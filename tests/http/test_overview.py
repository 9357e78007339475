"""What the dashboard reads: the overview, its stream, what is promised."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from offload.core.keys import KeyScope
from offload.core.promises import BACKENDS
from offload.engine.parts import Timing
from offload.http.feeds import LOOK_SECONDS
from offload.ports import Depth
from offload.stores.memory import MemoryStore
from tests.http.key_kit import ask, bearer, key_of
from tests.http.kit import gate_of, serving
from tests.http.sockets import Listening, listening


@asynccontextmanager
async def streamed(at: Listening, token: str = "") -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    """Open the overview's stream and give its events as they come."""
    headers = bearer(token) if token else {}
    async with (
        asyncio.timeout(40),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{at.port}", timeout=30) as client,
        client.stream("GET", "/v1/overview/events", headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events_of(answer)


async def events_of(answer: httpx2.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


async def test_the_overview_says_what_waits_what_runs_and_what_there_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        before = (await server.client.get("/v1/overview")).json()
        await server.client.post("/v1/jobs/hold", json={"gate": "overview"})
        async with asyncio.timeout(30):
            while (seen := (await server.client.get("/v1/overview")).json())["queues"][0]["running"] != 1:
                await asyncio.sleep(0.01)
        assert {job["name"] for job in seen["jobs"]} >= {"ping", "hold", "copy"}
        assert [queue["name"] for queue in seen["queues"]] == ["default", "images"]
        assert seen["changes"] > before["changes"]
        assert seen["ready"] is True and seen["worker_deaths"] == 0 and seen["callback_hosts_failing"] == 0
        assert seen["history"]["columns"] == ["at", "arrivals", "done", "failed", "queued", "running"]
        gate_of("overview").set()


async def test_its_stream_tells_of_changes_as_they_come(tmp_path: Path) -> None:
    async with listening(tmp_path) as at, streamed(at) as events:
        name, first = await anext(events)
        assert name == "overview" and "workers" in first
        assert (await anext(events))[0] == "history"
        await at.server.client.post("/v1/jobs/ping", json={}, headers={"prefer": "wait=30"})
        async for name, newer in events:
            if name == "overview" and newer["changes"] > first["changes"]:
                break
        assert [queue["name"] for queue in newer["queues"]] == ["default", "images"]


class Counted(MemoryStore):
    """Counts how often the queues are counted."""

    looks = 0

    async def depths(self) -> list[Depth]:
        self.looks += 1
        return await super().depths()


async def test_what_goes_on_is_looked_up_once_for_all_who_watch(tmp_path: Path) -> None:
    store = Counted()
    quiet = Timing(sweep_seconds=3600)
    async with listening(tmp_path, wrap_store=lambda memory: store, timing=quiet) as at, AsyncExitStack() as stack:
        begun, before = at.server.engine.clock.monotonic(), store.looks
        watching = [await stack.enter_async_context(streamed(at)) for _ in range(20)]
        for each in watching:
            assert (await anext(each))[0] == "overview"
        await at.server.client.post("/v1/jobs/ping", json={})
        for each in watching:
            while (await anext(each))[0] != "overview":
                continue
        passed = at.server.engine.clock.monotonic() - begun
        assert store.looks - before <= passed / LOOK_SECONDS + 2
        await stack.aclose()
        async with asyncio.timeout(30):
            while any("Feed._run" in repr(task) for task in asyncio.all_tasks()):  # nobody watches: nobody looks
                await asyncio.sleep(0.01)


async def test_its_stream_tells_whose_callbacks_moved_to_who_may_see_them(tmp_path: Path) -> None:
    async with listening(tmp_path) as at:
        server = at.server
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        callback = {"url": "https://receiver.example/", "events": ["done"]}
        made = await ask(server, anna, "POST", "/v1/tasks", {"job": "ping", "run": True, "callback": callback})
        task = made.json()["id"]
        await ask(server, anna, "GET", f"/v1/tasks/{task}?wait=30")
        (delivery,) = (await ask(server, anna, "GET", "/v1/callbacks")).json()["callbacks"]
        async with streamed(at, anna) as hers, streamed(at, bert) as his:
            assert [(await anext(each))[0] for each in (hers, his)] == ["overview", "overview"]
            await ask(server, anna, "POST", f"/v1/callbacks/{delivery['id']}/replay")
            async for name, said in hers:
                if name == "callbacks":
                    assert said == {"tasks": [task]}
                    break
            before = server.engine.stats.changes
            await ask(server, bert, "POST", "/v1/jobs/ping", {})
            async for name, said in his:
                assert name != "callbacks"
                if name == "overview" and said["changes"] > before:
                    break


async def test_an_owner_sees_no_workers_and_counts_only_their_own(tmp_path: Path) -> None:
    async with listening(tmp_path) as at:
        server = at.server
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        admin = await key_of(server, "ops", KeyScope.ADMIN)
        later = {"job": "ping", "run": True, "delay": 3600}
        assert (await ask(server, bert, "POST", "/v1/tasks", later)).status_code == 201
        seen = {token: (await ask(server, token, "GET", "/v1/overview")).json() for token in (anna, bert, admin)}
        assert [seen[token]["queues"][0]["queued"] for token in (anna, bert, admin)] == [0, 1, 1]
        assert all("workers" not in seen[token] and "checks" not in seen[token] for token in (anna, bert))
        assert "workers" in seen[admin]
        async with streamed(at, anna) as events:
            assert "workers" not in (await anext(events))[1]
        assert (await ask(server, await key_of(server, "w", KeyScope.WORK), "GET", "/v1/overview")).status_code == 403


async def test_a_stream_ends_when_its_key_does(tmp_path: Path) -> None:
    async with listening(tmp_path) as at:
        admin = await key_of(at.server, "ops", KeyScope.ADMIN)
        own = (await ask(at.server, admin, "GET", "/v1/keys")).json()["keys"][0]["id"]
        async with streamed(at, admin) as events:
            await anext(events)
            assert (await ask(at.server, admin, "DELETE", f"/v1/keys/{own}")).status_code == 200
            async for _ in events:
                pass


async def test_it_says_what_it_promises(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        said = (await server.client.get("/v1/promises")).json()
        assert said["store"] == "memory" and "tests only" in said["accepted"]
        assert "exactly one recorded outcome" in said["outcome"]
        assert {backend.store for backend in BACKENDS} == {"sqlite", "postgresql", "memory"}
