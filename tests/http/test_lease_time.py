"""How long a lease lasts: who does not keep it has lost it, and nobody has it for longer than its job allows."""

import asyncio
from pathlib import Path

from offload.core.task import Task
from offload.engine.parts import Lending, Timing
from offload.stores.memory import MemoryStore
from tests.http.kit import serving
from tests.http.lease_kit import CATALOG, FOUND, SHORT, code, later, lend, say, submit_image, until, until_event
from tests.unit.engine.kit import HandClock

LONG = Timing(sweep_seconds=0.02)
"""For clocks that are set by hand."""


async def test_a_lease_that_ends_is_lost_to_everything_and_its_task_is_somebody_elses(tmp_path: Path) -> None:
    clock = HandClock()
    async with serving(tmp_path, catalog=CATALOG, timing=LONG, clock=clock) as server:
        task_id = await submit_image(server)
        first = await lend(server)
        assert (await server.client.put(first["upload_to"], content=b"early")).status_code == 200
        clock.at += LONG.lease_seconds + 1
        second = await lend(server)
        assert (second["task"], second["attempt"]) == (task_id, 2)
        for verb, body in (("heartbeat", None), ("done", FOUND), ("failed", {"error": "late"})):
            assert code(await say(server, first, verb, body)) == (409, "LeaseLost")
        assert code(await server.client.get(first["download_from"]["image"])) == (409, "LeaseLost")
        assert code(await server.client.put(first["upload_to"], content=b"late")) == (409, "LeaseLost")
        task = (await server.client.get(f"/v1/tasks/{task_id}")).json()
        assert task["attempt"] == 2 and task["status"] == "RUNNING"
        assert (await say(server, second, "done", FOUND)).status_code == 200
        assert (await server.finished(task_id))["result"] == FOUND
        assert code(await say(server, first, "done", FOUND)) == (409, "LeaseLost")
        metrics = (await server.client.get("/metrics")).text
        assert 'offload_leases_ended_total{job_name="detect"} 1.0' in metrics


class Swept(MemoryStore):
    """Counts how often it is asked which leases have ended."""

    sweeps = 0

    async def overdue(self, *, now: float, limit: int) -> list[Task]:
        self.sweeps += 1
        return await super().overdue(now=now, limit=limit)


async def test_heartbeats_keep_a_lease_beyond_its_length(tmp_path: Path) -> None:
    clock, store = HandClock(), Swept()
    async with serving(tmp_path, catalog=CATALOG, timing=LONG, clock=clock, wrap_store=lambda memory: store) as server:
        task_id = await submit_image(server)
        lent = await lend(server)
        ends_at = lent["expires_at"]
        for number in range(1, 4):
            clock.at += 0.6 * LONG.lease_seconds
            beat = await say(server, lent, "heartbeat")
            assert beat.status_code == 200
            assert beat.json()["expires_at"] == later(ends_at, number * 0.6 * LONG.lease_seconds)
            before = store.sweeps
            await until(lambda: store.sweeps > before)  # noqa: B023 - it is awaited here
        assert (await say(server, lent, "done", FOUND)).status_code == 200
        assert (await server.finished(task_id))["attempt"] == 1


async def test_a_task_that_takes_three_workers_down_is_poison(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG, timing=SHORT) as server:
        task_id = await submit_image(server)
        for attempt in (1, 2, 3):
            assert (await lend(server))["attempt"] == attempt
        task = await server.finished(task_id)
        assert (task["status"], task["reason"]) == ("FAILED", "poison")


async def test_an_attempt_has_the_time_of_its_job_and_no_more(tmp_path: Path) -> None:
    lending, timing = Lending(timeout_seconds=0.5), Timing(sweep_seconds=0.02, heartbeat_seconds=0.02)
    async with serving(tmp_path, catalog=CATALOG, timing=timing, lending=lending) as server:
        task = await server.submit("sing")
        lent = await lend(server)
        answer = await say(server, lent, "heartbeat")
        while answer.status_code == 200:
            assert answer.json()["expires_at"] <= lent["expires_at"]
            await asyncio.sleep(0.02)
            answer = await say(server, lent, "heartbeat")
        assert code(answer) == (409, "LeaseLost")
        events = await until_event(server, task["id"], "Timeout")
        assert "ran longer than its limit of 0.5 s" in events


async def test_a_canceled_task_of_a_silent_worker_ends_with_its_lease(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG, timing=SHORT) as server:
        task_id = (await server.submit("sing"))["id"]
        lent = await lend(server)
        await server.client.post(f"/v1/tasks/{task_id}/cancel")
        assert (await server.finished(task_id))["status"] == "CANCELED"
        assert code(await say(server, lent, "failed", {"error": "late"})) == (409, "LeaseLost")


async def test_a_canceled_task_of_a_worker_that_does_not_listen_ends_too(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG, timing=SHORT) as server:
        task_id = (await server.submit("sing"))["id"]
        lent = await lend(server)
        await server.client.post(f"/v1/tasks/{task_id}/cancel")
        while (answer := await say(server, lent, "heartbeat")).status_code == 200:
            assert answer.json()["canceled"] is True
            await asyncio.sleep(0.01)  # in one process nothing else would have its turn
        assert code(answer) == (409, "LeaseLost")
        assert (await server.finished(task_id))["status"] == "CANCELED"
