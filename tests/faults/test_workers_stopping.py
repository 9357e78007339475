"""An attempt that has to end does: asked first, then told, then made to; and nothing of it stays."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from offload.core.outcome import Stopped, Succeeded, Unrun
from offload.core.task import Reason
from offload.ports import Work
from tests.faults.pools import ASYNC_JOBS, JOBS, PATIENCE_SECONDS, alive, bench
from tests.faults.test_workers_outcomes import failed


async def test_a_job_that_checks_stops_when_canceled_and_its_worker_lives(tmp_path: Path) -> None:
    async with bench(tmp_path, unhurried=True, grace_seconds=60.0) as b:
        task, pid = await b.begin("checks")
        b.pool.cancel(task)
        b.pool.cancel(task)
        assert await b.end(task) == Stopped()
        assert b.pids() == [pid] and alive(pid)


async def test_a_cancel_of_what_is_over_does_not_take_back_the_word_to_what_runs(tmp_path: Path) -> None:
    """The news of the first one's end is on its way when both are canceled; the second is still asked first."""
    begun = tmp_path / "begun"
    async with bench(tmp_path, unhurried=True, grace_seconds=60.0) as b:
        await b.make_room()
        (pid,) = b.pids()
        over, running = b.task("add", a=1, b=1), b.task("checks", begun=str(begun))
        for task in (over, running):
            b.pool.run(Work(task=task))
        await asyncio.sleep(0)  # the frames leave
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not begun.exists():
            assert time.monotonic() < deadline  # and the loop does not turn
        b.pool.cancel(running)
        b.pool.cancel(over)
        assert [await b.end(over), await b.end(running)] == [Succeeded(json=b"2"), Stopped()]
        assert b.pids() == [pid] and alive(pid)


async def test_what_a_job_returns_after_it_saw_the_cancel_is_dropped(tmp_path: Path) -> None:
    async with bench(tmp_path, unhurried=True, grace_seconds=60.0) as b:
        task, _ = await b.begin("returns_when_told")
        b.pool.cancel(task)
        assert await b.end(task) == Stopped()


async def test_a_plain_job_is_interrupted_by_cancel_and_its_finally_blocks_run(tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    async with bench(tmp_path, grace_seconds=30.0) as b:
        task, pid = await b.begin("cleans_up", cleaned=str(cleaned))
        b.pool.cancel(task)
        assert await b.end(task) == Stopped()
        assert cleaned.exists()
        await b.until(lambda: not alive(pid))
        assert await b.run("add", a=1, b=1) == Succeeded(json=b"2")


async def test_a_module_that_takes_the_signal_while_it_is_loaded_does_not_keep_it(tmp_path: Path) -> None:
    """Libraries do so; the first task of a process is interrupted like all others."""
    jobs = tmp_path / "taking_jobs.py"
    cleaned = tmp_path / "cleaned"
    jobs.write_text(
        "import signal, time\nfrom pathlib import Path\nfrom offload import job\n\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\n"
        "@job(grace=30)\ndef sleeps(begun: str) -> None:\n    Path(begun).write_text('0')\n"
        f"    try:\n        time.sleep(60)\n    finally:\n        Path({str(cleaned)!r}).touch()\n"
    )
    async with bench(tmp_path, str(jobs)) as b:
        task, _ = await b.begin("sleeps")
        b.pool.cancel(task)
        assert await b.end(task) == Stopped()
        assert cleaned.exists()


async def test_a_job_that_ignores_term_is_gone_after_the_grace(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        task, pid = await b.begin("ignores_everything")
        b.pool.cancel(task)
        assert await b.end(task) == Stopped()
        assert not alive(pid)


async def test_a_careful_job_beyond_its_time_limit_fails_by_it_and_its_worker_lives(tmp_path: Path) -> None:
    async with bench(tmp_path, unhurried=True, grace_seconds=60.0) as b:
        before = b.pids()
        outcome = failed(await b.run("too_slow_but_careful"), Reason.TIMEOUT)
        assert "0.3 s" in outcome.error.message
        assert b.pids() == before


async def test_a_sleeping_job_beyond_its_time_limit_fails_and_tells_where_it_was(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        outcome = failed(await b.run("sleeps_too_long"), Reason.TIMEOUT)
        assert "time.sleep(60)" in outcome.error.traceback


async def test_a_job_that_never_lets_go_of_the_interpreter_is_killed_by_its_time_limit(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        failed(await b.run("holds_the_lock"), Reason.TIMEOUT)
        assert await b.run("add", a=1, b=1) == Succeeded(json=b"2")


async def test_a_job_that_holds_the_interpreter_for_long_is_alive(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        task, _ = await b.begin("holds_the_lock_a_while")
        assert await b.end(task) == Succeeded(json=b'"back"')


async def test_a_daemon_that_hid_itself_goes_with_its_worker(tmp_path: Path) -> None:
    daemon = tmp_path / "daemon"
    async with bench(tmp_path) as b:
        task, pid = await b.begin("leaves_a_daemon", daemon=str(daemon))
        assert alive(int(daemon.read_text()))
        b.pool.cancel(task)
        assert await b.end(task) == Stopped()
        await b.until(lambda: not alive(pid) and not alive(int(daemon.read_text())))


async def test_a_waiting_task_that_is_canceled_never_starts(tmp_path: Path) -> None:
    trace, go = tmp_path / "trace", tmp_path / "go"
    async with bench(tmp_path, unhurried=True) as b:
        await b.make_room()
        first, _ = await b.begin("goes_on", go=str(go))
        second = b.task("traced", trace=str(trace), number=2)
        b.pool.run(Work(task=second))
        b.pool.cancel(second)
        assert b.ear.outcomes.get(second.id) == Stopped()
        go.touch()
        assert isinstance(await b.end(first), Succeeded)
        assert isinstance(await b.run("add", a=1, b=1), Succeeded)
        assert not trace.exists()


async def test_tasks_that_wait_behind_a_slow_one_are_taken_back(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with bench(tmp_path, unhurried=True) as b:
        await b.make_room()
        slow = b.task("naps", seconds=30, trace=str(trace))
        waiting = [b.task("traced", trace=str(trace), number=number) for number in range(5)]
        for task in (slow, *waiting):
            b.pool.run(Work(task=task))
        b.hurry()
        await b.until(lambda: all(task.id in b.ear.outcomes for task in waiting))
        assert all(b.ear.outcomes[task.id] == Unrun() for task in waiting)
        assert slow.id not in b.ear.outcomes
        assert b.places("add") == 0


async def test_tasks_that_wait_behind_a_slow_one_go_to_an_idle_worker_when_there_is_one(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with bench(tmp_path, unhurried=True, workers=2) as b:
        await b.until_all_ready("add", 2)
        await b.make_room()
        slow = b.task("naps", seconds=30, trace=str(trace))
        quick = [b.task("add", a=number, b=0) for number in range(2)]
        for task in (slow, *quick):
            b.pool.run(Work(task=task))
        assert await b.end(quick[0]) == Succeeded(json=b"0")  # by the other, which is idle then
        b.hurry()
        assert await b.end(quick[1]) == Succeeded(json=b"1")
        assert slow.id not in b.ear.outcomes


async def test_a_dead_worker_loses_only_what_it_had_begun(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    async with bench(tmp_path, unhurried=True) as b:
        await b.make_room()
        poison = b.task("leaves", code=9)
        waiting = [b.task("traced", trace=str(trace), number=number) for number in range(5)]
        for task in (poison, *waiting):
            b.pool.run(Work(task=task))
        failed(await b.end(poison), Reason.WORKER_LOST, died=True)
        outcomes = [await b.end(task) for task in waiting]
        assert outcomes == [Unrun()] * 5
        assert not trace.exists()


async def test_stopping_gives_back_what_waits_and_lets_the_rest_end(tmp_path: Path) -> None:
    trace, go = tmp_path / "trace", tmp_path / "go"
    async with bench(tmp_path, unhurried=True) as b:
        await b.make_room()
        running, _ = await b.begin("goes_on", go=str(go))
        waiting = b.task("traced", trace=str(trace), number=2)
        b.pool.run(Work(task=waiting))
        stopping = asyncio.create_task(b.pool.stop(grace_seconds=30))
        assert await b.end(waiting) == Unrun()
        go.touch()
        await stopping
        assert isinstance(b.ear.outcomes[running.id], Succeeded)
        assert not trace.exists()


async def test_what_still_runs_when_the_grace_ends_is_given_back(tmp_path: Path) -> None:
    async with bench(tmp_path, grace_seconds=0.2) as b:
        task, pid = await b.begin("ignores_everything")
        late = b.task("add", a=1, b=1)
        stopping = asyncio.create_task(b.pool.stop(grace_seconds=0.1))
        await asyncio.sleep(0)
        b.pool.run(Work(task=late))
        await stopping
        assert b.ear.outcomes[task.id] == Unrun(started=True) and b.ear.outcomes[late.id] == Unrun()
        assert not alive(pid)


async def test_a_worker_that_was_told_to_go_just_before_the_job_began_tells_the_job() -> None:
    """The signal comes while nothing may be interrupted; the job's code must not run on as if it had not come."""
    code = """
import os, signal
from offload.workers.child.failures import Terminated
from offload.workers.child.interrupts import Interrupts
interrupts = Interrupts(lambda: True)
os.kill(os.getpid(), signal.SIGTERM)
assert interrupts.terminated
try:
    interrupts.let_in()
except Terminated:
    print("told")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "told\n"


@pytest.mark.parametrize("jobs", [JOBS, ASYNC_JOBS])
async def test_only_the_server_tells_a_worker_to_go(tmp_path: Path, jobs: str) -> None:
    """A service manager that signals every process of a service must not cost what runs an attempt."""
    async with bench(tmp_path, jobs) as b:
        go = tmp_path / "go"
        task, pid = await b.begin("goes_on", go=str(go))
        for _ in range(2):
            os.kill(pid, signal.SIGTERM)
        assert alive(pid)
        go.touch()
        assert await b.end(task) == Succeeded(json=b'"went on"')
        again, same = await b.begin("goes_on", go=str(go))
        assert same == pid and await b.end(again) == Succeeded(json=b'"went on"')
        task, _ = await b.begin("goes_on", go=str(tmp_path / "never"))
        b.pool.cancel(task)
        assert await b.end(task) == Stopped()
