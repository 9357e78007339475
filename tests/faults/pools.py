"""A pool with real processes for tests, and a listener that keeps what it hears."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from offload.core.outcome import Outcome, Succeeded
from offload.core.task import Status, Task, TaskEvent
from offload.loading import load_catalog
from offload.ports import Note, Work
from offload.workers import children, lanes
from offload.workers.pool import Pool, PoolSettings

JOBS = str(Path(__file__).with_name("worker_jobs.py"))
LANE_JOBS = str(Path(__file__).with_name("worker_lane_jobs.py"))
ASYNC_JOBS = str(Path(__file__).with_name("worker_async_jobs.py"))
PATIENCE_SECONDS = 30.0
NEVER = 3_600.0


class RealClock:
    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class Ear:
    """A Listener that remembers."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.last_words: dict[str, tuple[TaskEvent, ...]] = {}
        self.notes: dict[str, list[Note]] = {}
        self.rooms_freed = 0
        self.news = asyncio.Event()

    def noted(self, note: Note) -> None:
        assert note.task.id not in self.outcomes, "said after the end"
        self.notes.setdefault(note.task.id, []).append(note)
        self.news.set()

    def ended(self, task: Task, outcome: Outcome, last_words: tuple[TaskEvent, ...]) -> None:
        assert task.id not in self.outcomes, "ended twice"
        self.outcomes[task.id] = outcome
        self.last_words[task.id] = last_words
        self.news.set()

    def room_freed(self) -> None:
        self.rooms_freed += 1
        self.news.set()

    def log(self, task_id: str) -> str:
        """Return the whole log of a task."""
        events = [event for note in self.notes.get(task_id, []) for event in note.events] + list(
            self.last_words[task_id]
        )
        return "".join(msgspec.json.decode(event.data, type=str) for event in events if event.kind == "log")

    def outputs(self, task_id: str) -> list[Any]:
        events = [event for note in self.notes.get(task_id, []) for event in note.events]
        return [msgspec.json.decode(event.data) for event in events if event.kind == "output"]


class Bench:
    """A started pool and what was heard of it."""

    def __init__(self, pool: Pool, ear: Ear, tmp_path: Path, patience: pytest.MonkeyPatch) -> None:
        self._tmp_path = tmp_path
        self._patience = patience
        self.pool = pool
        self.ear = ear
        self._count = 0

    def task(self, job: str, /, **given: Any) -> Task:
        self._count += 1
        return Task(
            id=f"task-{self._count}", job=job, queue="default", status=Status.RUNNING, created_at=0.0, attempt=1,
            lease_until=1e12, input=msgspec.json.encode(given),
        )  # fmt: skip

    def places(self, job: str) -> int:
        return sum(room.places for room in self.pool.rooms() if job in room.jobs)

    async def start(self, job: str, /, **given: Any) -> Task:
        """Hand over a task as soon as there is room."""
        task = self.task(job, **given)
        while self.places(job) == 0:  # looked at again after each wait: others may have been quicker
            await self.until(lambda: self.places(job) > 0)
        self.pool.run(Work(task=task))
        return task

    async def begin(self, job: str, /, **given: Any) -> tuple[Task, int]:
        """Hand over a task of a job that shows that it runs; return once it does, with its process."""
        self._count += 1
        path = self._tmp_path / f"begun-{self._count}"
        task = await self.start(job, begun=str(path), **given)
        await self.until(path.exists)
        return task, int(path.read_text())

    async def end(self, task: Task) -> Outcome:
        await self.until(lambda: task.id in self.ear.outcomes)
        return self.ear.outcomes[task.id]

    async def run(self, job: str, /, **given: Any) -> Outcome:
        return await self.end(await self.start(job, **given))

    async def until(self, is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for a condition that something heard, or a moment, may have made true."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, f"not so within {seconds:g} s; the workers: {self.pool.workers()}"
            self.ear.news.clear()
            try:
                async with asyncio.timeout(0.02):
                    await self.ear.news.wait()
            except TimeoutError:
                pass

    async def make_room(self) -> None:
        """Run tasks that are short, until others may wait behind one."""
        while self.places("add") <= 5:
            assert await self.run("add", a=1, b=1) == Succeeded(json=b"2")

    def hurry(self) -> None:
        """Be as impatient from here on as a server is."""
        self._patience.undo()

    async def until_all_ready(self, job: str, places: int) -> None:
        await self.until(lambda: self.places(job) >= places)

    def pids(self, lane: str = "shared") -> list[int]:
        return [worker.pid for worker in self.pool.workers() if worker.lane == lane]


@asynccontextmanager
async def bench(tmp_path: Path, jobs: str = JOBS, *, unhurried: bool = False, **settings: Any) -> AsyncIterator[Bench]:
    """Start a pool on the test's jobs; stop it at the end.

    An unhurried one takes nothing back for being slow, and who is asked to stop has time: what a test of it tells is
    not how fast the machine is.
    """
    ear = Ear()
    given: dict[str, Any] = {"workers": 1, "environment": dict(os.environ)} | settings
    chosen = PoolSettings(scratch=tmp_path / "scratch", **given)
    pool = Pool(load_catalog(jobs), jobs, chosen, RealClock())
    with pytest.MonkeyPatch.context() as patience:
        if unhurried:
            patience.setattr(lanes, "SHORT_SECONDS", NEVER)
            patience.setattr(children, "RECALL_SECONDS", NEVER)
            patience.setattr(children, "COOPERATION_SECONDS", NEVER)
        await pool.start(ear)
        try:
            yield Bench(pool, ear, tmp_path, patience)
        finally:
            await pool.stop(grace_seconds=0.0)
            assert not pool.workers()


def alive(pid: int) -> bool:
    """Tell whether a process runs; a dead one that nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
