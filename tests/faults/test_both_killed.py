"""Database and broker, killed and started again under load: each alone and both at once, in the order a seed gives.

Deeper: `make faults ROUNDS=50`.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.backends.brokers import Backend, backends, private
from tests.backends.postgres import Postgres
from tests.fleet import Client, Fleet

JOBS = Path(__file__).parent / "jobs_for_servers.py"
ROUNDS = int(os.environ.get("BOTH_ROUNDS", "0"))
SEED = int(os.environ.get("BOTH_SEED", "1"))
CLIENTS = 6
SERVING = WORKING = 2
LEASE_SECONDS, HEARTBEAT_SECONDS = 6.0, 1.5
AWAY_SECONDS = (0.1, 8.0 if ROUNDS else 2.5)
"""From less than a heartbeat to more than a lease."""
SOME_MORE = 20
ENDS = """
    SELECT ends, count(*) FROM (
        SELECT count(*) AS ends FROM offload.events
         WHERE kind = 'status' AND convert_from(data, 'UTF8')::json ->> 'status' IN ('DONE', 'FAILED', 'CANCELED')
         GROUP BY key) AS each_task
     GROUP BY ends
"""


class Load:
    """Clients that submit without pause, each task under a key of its own, until they are told to stop."""

    def __init__(self, client: Client, trace: Path) -> None:
        self._client, self._trace = client, trace
        self._stopping = False
        self.ids: list[str] = []

    async def run(self) -> None:
        while not self._stopping:
            self.ids.append(await self._client.submit("quick", {"trace": str(self._trace), "n": 1}))
            await asyncio.sleep(0.02)

    async def until_some_more_are_done(self) -> None:
        """Return when tasks submitted from now on have ended, so that the next fault meets a fleet at work."""
        before = len(self.ids)
        async with asyncio.timeout(120):
            while len(self.ids) < before + SOME_MORE:
                await asyncio.sleep(0.02)
        for task_id in self.ids[before : before + SOME_MORE]:
            await self._client.final(task_id)

    def stop(self) -> None:
        self._stopping = True


@pytest.mark.deadline(240 + 60 * ROUNDS)
@pytest.mark.parametrize("name", backends() if ROUNDS else ["redis"])
async def test_killed_and_started_again_under_load_they_lose_nothing_and_end_nothing_twice(
    name: str, tmp_path: Path
) -> None:
    order = random.Random(SEED)
    trace = tmp_path / "trace"
    with Postgres() as database, private(name, tmp_path / "broker") as broker:
        url = f"{broker.url}{'&' if '?' in broker.url else '?'}prefix=both"
        store = database.create("one")
        times = ("--lease-seconds", f"{LEASE_SECONDS}", "--heartbeat-seconds", f"{HEARTBEAT_SECONDS}")
        flags = ("--broker", url, "--log-level", "warning", *times)
        with Fleet(JOBS, tmp_path, store, *flags, serving=SERVING, working=WORKING) as nodes:
            async with Client(nodes.serving, patience_seconds=90) as client:
                load = Load(client, trace)
                async with asyncio.TaskGroup() as group:
                    for _ in range(CLIENTS):
                        group.create_task(load.run())
                    for victims in plan(order, database, broker):
                        await load.until_some_more_are_done()
                        await _killed_for(order.uniform(*AWAY_SECONDS), victims)
                    await load.until_some_more_are_done()
                    load.stop()
                ended = [await client.final(task_id) for task_id in load.ids]
        ends = database.run(ENDS, "one").splitlines()
        rows = database.run("SELECT count(*) FROM offload.requests", "one")
    runs = Counter(line.split()[1] for line in trace.read_text().splitlines() if line.startswith("start "))
    again = sum(count - 1 for count in runs.values())
    kills = ROUNDS or "3"
    print(f"\n| PostgreSQL + {name} | {kills} | {SEED} | {len(load.ids)} | 0 | {len(ends) - 1} | {again} |")
    assert client.failed == 0
    assert {task["status"] for task in ended} == {"DONE"}
    assert ends == [f"1|{len(load.ids)}"]
    assert rows == str(len(set(load.ids)))
    assert set(runs) == set(load.ids)
    assert again <= len(load.ids) / 1_000  # none, unless a node has no core for a whole lease


def plan(order: random.Random, database: Postgres, broker: Backend) -> list[list[Postgres | Backend]]:
    """Return who is killed in each round."""
    choices: list[list[Postgres | Backend]] = [[database], [broker], [database, broker]]
    return [order.choice(choices) for _ in range(ROUNDS)] or choices


async def _killed_for(seconds: float, victims: list[Postgres | Backend]) -> None:
    kills: list[Callable[[], object]] = [victim.kill for victim in victims]
    for kill in kills:
        await asyncio.to_thread(kill)
    await asyncio.sleep(seconds)  # that they are away is the fault
    async with asyncio.TaskGroup() as group:
        for victim in victims:
            group.create_task(asyncio.to_thread(victim.start))
