"""A task that waits in a worker's pipe is started by the worker or taken back by the server: never both."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from offload.core.outcome import Failed, Stopped, Succeeded, Unrun
from offload.core.task import Task
from offload.ports import Work
from offload.workers.tickets import Tickets
from tests.faults.pools import PATIENCE_SECONDS, alive, bench

ROUNDS = 60


@pytest.mark.parametrize("seed", range(3))
async def test_a_recalled_task_never_starts_and_a_started_one_is_never_recalled(tmp_path: Path, seed: int) -> None:
    """Cancel waiting tasks at every moment of their short lives; compare what the worker wrote with what was told."""
    chance = random.Random(seed)
    trace = tmp_path / "trace"
    trace.touch()
    ended: Counter[str] = Counter()
    numbers: dict[str, int] = {}
    async with bench(tmp_path, unhurried=True) as b:
        await b.make_room()
        for _ in range(ROUNDS):
            await b.until(lambda: b.places("traced") > 0)
            tasks: list[Task] = []
            for _ in range(b.places("traced")):
                number = len(numbers)
                task = b.task("traced", trace=str(trace), number=number)
                numbers[task.id] = number
                tasks.append(task)
                b.pool.run(Work(task=task))
            for task in chance.sample(tasks, len(tasks) // 2):
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
                b.pool.cancel(task)
            for task in tasks:
                ended[type(await b.end(task)).__name__] += 1
        started = {int(line) for line in trace.read_text().splitlines()}
        assert len(started) == len(trace.read_text().splitlines()), "none ran twice"
        for task_id, number in numbers.items():
            outcome = b.ear.outcomes[task_id]
            if isinstance(outcome, Succeeded):
                assert number in started
            elif isinstance(outcome, Unrun):
                assert number not in started
            else:
                assert outcome == Stopped()
    assert ended["Succeeded"] > ROUNDS and ended["Stopped"] > ROUNDS / 10, ended


@pytest.mark.parametrize("seed", range(2))
async def test_of_a_killed_worker_only_what_it_had_begun_is_lost(tmp_path: Path, seed: int) -> None:
    """Kill it at every moment of many short lives; what is given back never began, what was lost was one."""
    chance = random.Random(seed)
    trace = tmp_path / "trace"
    trace.touch()
    numbers: dict[str, int] = {}
    lost = unrun = 0
    async with bench(tmp_path, unhurried=True) as b:
        for _ in range(12):
            for _ in range(20):
                await b.run("add", a=1, b=1)
            await b.until(lambda: b.places("traced") > 5)
            tasks = [b.task("traced", trace=str(trace), number=len(numbers) + n) for n in range(b.places("traced"))]
            for task in tasks:
                numbers[task.id] = len(numbers)
                b.pool.run(Work(task=task))
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            os.kill(b.pids()[0], signal.SIGKILL)
            outcomes = [await b.end(task) for task in tasks]
            failures = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
            assert len(failures) <= 1 and all(failure.worker_died for failure in failures)
            lost, unrun = lost + len(failures), unrun + outcomes.count(Unrun())
        begun = [int(line) for line in trace.read_text().splitlines()]
    assert len(begun) == len(set(begun)), "none ran twice"
    for task_id, number in numbers.items():
        outcome = b.ear.outcomes[task_id]
        assert not (isinstance(outcome, Succeeded) and number not in begun)
        assert not (outcome == Unrun() and number in begun), number
    assert unrun > 0


async def test_a_worker_keeps_its_locks_until_the_server_has_heard_of_their_tickets(tmp_path: Path) -> None:
    """More short tasks than locks are kept, canceled when they are over but the server does not know it yet."""
    trace = tmp_path / "trace"
    async with bench(tmp_path, unhurried=True) as b:
        for _ in range(300):
            await b.run("add", a=1, b=1)
        for _ in range(20):
            await b.until(lambda: b.places("traced") > 20)
            trace.unlink(missing_ok=True)
            tasks = [b.task("traced", trace=str(trace), number=n) for n in range(b.places("traced"))]
            for task in tasks:
                b.pool.run(Work(task=task))
            await asyncio.sleep(0)  # the frames leave
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not trace.exists() or len(trace.read_text().splitlines()) < len(tasks) - 1:
                assert time.monotonic() < deadline  # and the loop does not turn: the server hears nothing
            b.pool.cancel(tasks[0])
            assert tasks[0].id not in b.ear.outcomes, "its start was not the server's to take back"
            assert all([isinstance(await b.end(task), Succeeded) for task in tasks[1:-1]])
            await b.end(tasks[-1])


async def test_what_a_dead_worker_had_begun_is_not_taken_back(tmp_path: Path) -> None:
    """Its locks are free as soon as it is dead, which the server learns a little later."""
    async with bench(tmp_path, unhurried=True) as b:
        await b.make_room()
        (pid,) = b.pids()
        before, poison, behind = b.task("add", a=1, b=1), b.task("leaves", code=1), b.task("add", a=1, b=1)
        for task in (before, poison, behind):
            b.pool.run(Work(task=task))
        await asyncio.sleep(0)  # the frames leave
        deadline = time.monotonic() + PATIENCE_SECONDS
        while alive(pid):
            assert time.monotonic() < deadline  # and the loop does not turn
        await b.pool.stop(grace_seconds=10)
        assert b.ear.outcomes[before.id] == Succeeded(json=b"2")
        assert isinstance(b.ear.outcomes[poison.id], Failed)
        assert b.ear.outcomes[behind.id] == Unrun()


async def test_of_two_takers_one_gets_a_ticket_and_the_page_outlives_the_other(tmp_path: Path) -> None:
    page = Tickets.create()
    try:
        assert page.take(1)
        code = f"""
from offload.workers.tickets import Tickets
page = Tickets({page.fd})
assert not page.take(1) and page.take(2)
page.note_start(2, 1.5)
"""
        subprocess.run([sys.executable, "-c", code], pass_fds=[page.fd], check=True)
        assert (page.started, page.started_at) == (2, 1.5)
        assert page.recall(3) and not page.recall(2)  # its locks went with it; the page tells what it had begun
    finally:
        page.close()


class Slow(Tickets):
    """A server's side that is held up between the lock and what it reads next, while its child goes on."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.meanwhile: Callable[[], object] = lambda: None

    def take(self, ticket: int) -> bool:
        taken = super().take(ticket)
        self.meanwhile()
        return taken


@pytest.mark.parametrize("dies", [False, True])
async def test_a_ticket_that_the_child_passes_while_it_is_recalled_is_recalled(tmp_path: Path, dies: bool) -> None:
    """That a newer one was started then means nothing; of a child that died no one can tell."""
    page = Slow.create()
    code = f"""
import sys
from offload.workers.tickets import Tickets
page = Tickets({page.fd})
page.enter()
print("ready", flush=True)
assert sys.stdin.readline()
assert not page.take(1), "the server has it"
assert page.take(2)
page.note_start(2, 1.5)
{"sys.exit()" if dies else 'print("passed", flush=True)'}
assert sys.stdin.readline() == "", "the server goes first"
"""
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    with subprocess.Popen(command, pass_fds=[page.fd], stdin=pipe, stdout=pipe, text=True) as child:
        try:
            assert child.stdin is not None and child.stdout is not None
            answer, said = child.stdin.fileno(), child.stdout
            assert said.readline() == "ready\n"

            def pass_it() -> None:
                os.write(answer, b"go\n")
                said.readline()
                if dies:
                    child.wait()

            page.meanwhile = pass_it
            assert page.recall(1) is not dies
            assert page.started == 2
            page.meanwhile = lambda: None
            assert page.recall(2) is False
        finally:
            page.close()
