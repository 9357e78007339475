"""Everything at once, by a seed: each run has exactly one end, and what is left in the end is what there was before."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from offload.core.outcome import Failed, Succeeded, Unrun
from offload.core.task import Reason, Task
from offload.ports import Work
from offload.workers.children import State
from tests.faults.pools import Bench, alive, bench

STORM_JOBS = str(Path(__file__).with_name("worker_storm_jobs.py"))
SEEDS = int(os.environ.get("STORM_SEEDS", "2"))
SECONDS = 1.0
RARE = ("dies", "stubborn", "holds_the_loop", "eats")
LENGTHS = (0, 0.001, 0.01, 0.03, 0.2, 2)
KILLED_BY = (0, signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)


class Storm:
    """What is handed over, canceled and killed, and in which order."""

    def __init__(self, b: Bench, trace: Path, chance: random.Random) -> None:
        self.tasks: dict[str, Task] = {}
        self._b = b
        self._trace = trace
        self._chance = chance

    async def go_on(self) -> None:
        """Do one thing."""
        what = self._chance.random()
        if what < 0.55:
            self._hand_over()
        elif what < 0.8:
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)
            self._cancel()
        elif what < 0.83:
            self._kill()
        else:
            await asyncio.sleep(self._chance.choice((0, 0.0003, 0.003, 0.03)))

    def _hand_over(self) -> None:
        rooms = [room for room in self._b.pool.rooms() if room.places > 0]
        if not rooms:
            return
        room = self._chance.choice(rooms)
        for _ in range(self._chance.randint(1, min(room.places, 12))):
            job = self._chance.choices(room.jobs, [1 if job in RARE else 8 for job in room.jobs])[0]
            task = self._b.task(job, trace=str(self._trace), key=str(len(self.tasks)), **self._more(job))
            self.tasks[str(len(self.tasks))] = task
            self._b.pool.run(Work(task=task))
            if self._chance.random() < 0.1:
                self._b.pool.cancel(task)

    def _more(self, job: str) -> dict[str, Any]:
        if job == "dies":
            return {"how": self._chance.choice(KILLED_BY)}
        return {} if job in ("short", "returns_much", "talks", "eats") else {"seconds": self._chance.choice(LENGTHS)}

    def _cancel(self) -> None:
        live = [task for task in self.tasks.values() if task.id not in self._b.ear.outcomes]
        for task in self._chance.sample(live, min(len(live), 3)):
            self._b.pool.cancel(task)

    def _kill(self) -> None:
        pids = [worker.pid for worker in self._b.pool.workers()]
        if not pids:
            return
        pid = self._chance.choice(pids)
        if self._chance.random() < 0.5:
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGSTOP)
            asyncio.get_running_loop().call_later(0.05, self._wake, pid)

    def _wake(self, pid: int) -> None:
        if any(worker.pid == pid for worker in self._b.pool.workers()):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_each_run_has_one_end_whatever_happens_and_nothing_stays(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    trace = tmp_path / "trace"
    trace.touch()
    descriptors = len(os.listdir("/proc/self/fd"))
    pids: set[int] = set()
    async with bench(tmp_path, STORM_JOBS, workers=chance.randint(1, 2), grace_seconds=0.3) as b:
        storm = Storm(b, trace, chance)
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            await storm.go_on()
            pids.update(worker.pid for worker in b.pool.workers())
        if seed % 2:
            await b.pool.stop(grace_seconds=chance.choice((0.0, 0.1, 1.0)))
        await b.until(lambda: len(b.ear.outcomes) == len(storm.tasks))
        if not seed % 2:
            await b.until(lambda: _is_at_rest(b))
        pids.update(worker.pid for worker in b.pool.workers())
    _compare(b, storm.tasks, Counter(trace.read_text().split()))
    kept = {Path(o.file.path).name for o in b.ear.outcomes.values() if isinstance(o, Succeeded) and o.file is not None}
    assert set(os.listdir(tmp_path / "scratch" / "results")) == kept
    assert os.listdir(tmp_path / "scratch") == ["results"]
    assert not any(alive(pid) for pid in pids)
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def _is_at_rest(b: Bench) -> bool:
    """Tell whether each lane has its processes, and none more, with nothing to do."""
    return all(
        [child.state for child in lane.children] == [State.READY] * lane.spec.size
        and not any(child.attempts for child in lane.children)
        for lane in b.pool._lanes
    )


def _compare(b: Bench, tasks: dict[str, Task], begun: Counter[str]) -> None:
    """Compare what was told with what the jobs wrote down."""
    for key, task in tasks.items():
        outcome = b.ear.outcomes[task.id]
        assert begun[key] <= 1, f"{task.job} ran twice: {outcome}"
        if isinstance(outcome, Succeeded):
            assert begun[key] == 1
        elif isinstance(outcome, Unrun) and not outcome.started:
            assert begun[key] == 0, f"{task.job} had begun"
        elif isinstance(outcome, Failed):
            assert outcome.reason is not Reason.ERROR, outcome
