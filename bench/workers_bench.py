"""No-op tasks a second through the worker pool alone: no store, no HTTP, only processes and the frames between.

python bench/workers_bench.py [--seconds 5] [--workers 2] [--job noop|noop_async]
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

import uvloop

from offload import job
from offload.clock import SteadyClock
from offload.core.outcome import Outcome, Succeeded
from offload.core.task import Status, Task, TaskEvent
from offload.loading import load_catalog
from offload.ports import Note, Work
from offload.workers.pool import Pool, PoolSettings


@job
def noop(number: int) -> int:
    return number


@job(concurrency=64)
async def noop_async(number: int) -> int:
    return number


class Feeder:
    """Keeps every place taken."""

    def __init__(self, pool: Pool, job_name: str) -> None:
        self._pool = pool
        self._job_name = job_name
        self.started = 0
        self.done = 0
        self.unrun = 0
        self.feeding = True

    def noted(self, note: Note) -> None:
        pass

    def ended(self, task: Task, outcome: Outcome, last_words: tuple[TaskEvent, ...]) -> None:
        if isinstance(outcome, Succeeded):
            self.done += 1
        else:
            self.unrun += 1

    def room_freed(self) -> None:
        for room in self._pool.rooms() if self.feeding else ():
            if self._job_name in room.jobs:
                for _ in range(room.places):
                    self._pool.run(Work(task=self._task()))

    def _task(self) -> Task:
        self.started += 1
        return Task(
            id=f"{self.started:036d}", job=self._job_name, queue="default", status=Status.RUNNING, created_at=0.0,
            attempt=1, lease_until=1e12, input=b'{"number": 1}',
        )  # fmt: skip


async def measure(seconds: float, workers: int, job_name: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        settings = PoolSettings(
            scratch=Path(scratch) / "scratch", environment=dict(os.environ), workers=workers, nice=0
        )
        target = str(Path(__file__).resolve())
        pool = Pool(load_catalog(target), target, settings, SteadyClock())
        feeder = Feeder(pool, job_name)
        began = time.monotonic()
        await pool.start(feeder)
        print(f"ready after {time.monotonic() - began:.2f} s")
        feeder.room_freed()
        await asyncio.sleep(1.0)
        before, cpu_before, began = feeder.done, time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        done, took = feeder.done - before, time.monotonic() - began
        cpu = time.process_time() - cpu_before
        print(
            f"{job_name}, {workers} workers: {done / took:,.0f} tasks/s; server {cpu / done * 1e6:.1f} us CPU a task; "
            f"{feeder.unrun} given back"
        )
        feeder.feeding = False
        await pool.stop(grace_seconds=5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--job", default="noop")
    given = parser.parse_args()
    uvloop.run(measure(given.seconds, given.workers, given.job))


if __name__ == "__main__":
    main()
