"""Schedules of several nodes on one database: each due time makes one task, whichever node is there."""

import os
import random
import threading
from pathlib import Path

import httpx2
import pytest

from tests.backends.postgres import Postgres
from tests.end_to_end.test_schedules import JOBS, SECOND, dues, every_second, schedule, steps, until
from tests.servers import Server

KILLS = int(os.environ.get("SCHEDULE_KILLS", "4"))


@pytest.mark.deadline(300 + 20 * KILLS)
def test_three_nodes_that_are_killed_by_turns_fire_each_due_time_once(tmp_path: Path) -> None:
    chance = random.Random(7)
    with Postgres() as database:
        url = database.create("offload")
        nodes = [Server(JOBS, tmp_path / str(n), "--store", url, "--workers", "1") for n in range(3)]
        try:
            for node in nodes:
                node.start()
            until(lambda: schedule(nodes[0].url, "each")["fired"] >= 2)
            for _ in range(KILLS):
                node = chance.choice(nodes)
                threading.Event().wait(chance.uniform(0.0, 1.2))
                node.kill()
                node.start()
            last = nodes[0].url
            before = schedule(last, "each")["fired"]
            until(lambda: schedule(last, "each")["fired"] >= before + 2)
            for name in SECOND:
                assert httpx2.put(
                    f"{last}/v1/schedules/{name}", json={**schedule(last, name), "paused": True}
                ).is_success
            for name in SECOND:
                times, found = dues(last, name), schedule(last, name)
                assert len(times) == len(set(times)) == found["fired"]
                # there was always a node: nothing passed unnoticed, whatever the policy
                assert set(steps(times)) == {1.0} or name != "each"
                assert found["fired"] + found["missed"] == every_second(found, times[-1])
        finally:
            for node in nodes:
                if node.process is not None and node.process.poll() is None:
                    node.terminate()
