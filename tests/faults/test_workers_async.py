"""Asynchronous jobs share one process and its loop, and stay apart all the same."""

import os
import signal
from pathlib import Path

from offload.core.outcome import Stopped, Succeeded, Unrun
from offload.core.task import Reason
from tests.faults.pools import ASYNC_JOBS, alive, bench
from tests.faults.test_workers_outcomes import failed


async def test_fifty_attempts_run_at_the_same_time_in_one_process(tmp_path: Path) -> None:
    async with bench(tmp_path, ASYNC_JOBS) as b:
        tasks = [await b.start("meets", number=50) for _ in range(50)]
        assert [await b.end(task) for task in tasks] == [Succeeded(json=b"50")] * 50
        assert len(b.pool.workers()) == 1


async def test_rooms_are_counted_for_each_job(tmp_path: Path) -> None:
    async with bench(tmp_path, ASYNC_JOBS) as b:
        await b.begin("waits")
        rooms = {room.jobs: room for room in b.pool.rooms()}
        assert rooms[("waits",)].places == 99 and rooms[("meets",)].places == 100
        assert len({room.lane for room in b.pool.rooms()}) == len(b.pool.rooms())


async def test_cancel_ends_one_attempt_and_not_its_neighbours(tmp_path: Path) -> None:
    cleaned = tmp_path / "cleaned"
    async with bench(tmp_path, ASYNC_JOBS) as b:
        one, pid = await b.begin("waits", cleaned=str(cleaned))
        other, _ = await b.begin("waits")
        b.pool.cancel(one)
        assert await b.end(one) == Stopped()
        assert cleaned.exists()
        assert other.id not in b.ear.outcomes and alive(pid)


async def test_an_attempt_beyond_its_time_limit_fails_by_it(tmp_path: Path) -> None:
    async with bench(tmp_path, ASYNC_JOBS) as b:
        outcome = failed(await b.run("waits_too_long"), Reason.TIMEOUT)
        assert "asyncio.sleep(60)" in outcome.error.traceback


async def test_an_attempt_that_refuses_to_stop_takes_its_process_down_and_neighbours_are_given_back(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, ASYNC_JOBS) as b:
        stubborn, pid = await b.begin("refuses_to_stop")
        neighbour, _ = await b.begin("waits")
        b.pool.cancel(stubborn)
        assert await b.end(stubborn) == Stopped()
        assert await b.end(neighbour) == Unrun(started=True)
        assert not alive(pid)
        assert await b.run("meets", number=1) == Succeeded(json=b"1")


async def test_a_cancellation_of_the_jobs_own_is_an_error(tmp_path: Path) -> None:
    async with bench(tmp_path, ASYNC_JOBS) as b:
        assert failed(await b.run("cancels_itself"), Reason.ERROR).error.type == "CancelledError"


async def test_a_crash_counts_only_against_the_attempt_whose_code_ran(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with bench(tmp_path, ASYNC_JOBS) as b:
        culprit, _ = await b.begin("crashes_when_told", go=str(go))
        neighbours = [(await b.begin("waits"))[0] for _ in range(3)]
        go.touch()
        failed(await b.end(culprit), Reason.WORKER_LOST, died=True)
        for neighbour in neighbours:
            outcome = failed(await b.end(neighbour), Reason.WORKER_LOST, died=False)
            assert "another task" in outcome.error.message


async def test_when_nobodys_code_ran_a_death_counts_against_all(tmp_path: Path) -> None:
    async with bench(tmp_path, ASYNC_JOBS) as b:
        tasks = [await b.begin("waits") for _ in range(2)]
        os.kill(tasks[0][1], signal.SIGKILL)
        for task, _ in tasks:
            failed(await b.end(task), Reason.WORKER_LOST, died=True)


async def test_output_is_told_apart_by_attempt(tmp_path: Path) -> None:
    async with bench(tmp_path, ASYNC_JOBS) as b:
        tasks = [await b.start("speaks_between_others", name=f"<{number}>") for number in range(10)]
        for number, task in enumerate(tasks):
            assert await b.end(task) == Succeeded(json=f'"<{number}>"'.encode())
            log = b.ear.log(task.id)
            assert log.count("logs") == 5 and "from a thread" in log
            assert all(f"<{number}>" in line for line in log.splitlines())


async def test_values_of_an_asynchronous_generator_are_told_and_are_the_result(tmp_path: Path) -> None:
    async with bench(tmp_path, ASYNC_JOBS) as b:
        task = await b.start("counts_async", up_to=100)
        assert isinstance(await b.end(task), Succeeded)
        assert b.ear.outputs(task.id) == list(range(100))


async def test_files_of_attempts_that_run_together_do_not_meet(tmp_path: Path) -> None:
    async with bench(tmp_path, ASYNC_JOBS) as b:
        tasks = [await b.start("writes_file_async", text=f"text{number}") for number in range(10)]
        for number, task in enumerate(tasks):
            outcome = await b.end(task)
            assert isinstance(outcome, Succeeded) and outcome.file is not None
            assert Path(outcome.file.path).read_text() == f"text{number}"
            assert outcome.file.name == f"text{number}.txt"
