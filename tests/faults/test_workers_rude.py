"""A job that takes or changes what is not its own harms itself at most: its end is told, and others run on."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from offload.core.outcome import Succeeded
from offload.core.task import Reason
from tests.faults.pools import PATIENCE_SECONDS, alive, bench
from tests.faults.test_workers_outcomes import failed

RUDE_JOBS = str(Path(__file__).with_name("worker_rude_jobs.py"))


@pytest.mark.parametrize("job", ["closes_what_is_open", "becomes_another_program"])
async def test_a_job_that_cuts_its_worker_off_is_a_lost_one_and_not_given_back(tmp_path: Path, job: str) -> None:
    """Given back, it would run again for ever: no attempt would count."""
    trace = tmp_path / "trace"
    async with bench(tmp_path, RUDE_JOBS) as b:
        outcome = failed(await b.run(job, trace=str(trace)), Reason.WORKER_LOST, died=True)
        assert "closed its socket" in outcome.error.message
        assert trace.read_text() == "x"
        assert await b.run("adds", a=1, b=1) == Succeeded(json=b"2")


async def test_a_full_output_that_a_job_has_set_not_to_wait_loses_nobody(tmp_path: Path) -> None:
    async with bench(tmp_path, RUDE_JOBS) as b:
        task = await b.start("fills_its_output_and_does_not_wait")
        (pid,) = b.pids()
        await asyncio.sleep(0)  # the frame leaves
        deadline = time.monotonic() + PATIENCE_SECONDS
        while alive(pid) and "pipe_write" not in Path(f"/proc/{pid}/wchan").read_text():
            assert time.monotonic() < deadline  # and the loop does not turn: the server reads nothing
        assert await b.end(task) == Succeeded(json=b'"full"')


async def test_what_a_job_set_its_output_to_is_undone_before_the_next(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    async with bench(tmp_path, RUDE_JOBS) as b:
        await b.run("does_not_wait_for_its_output")
        task = await b.start("prints_much", lines=500, begun=str(begun))
        (pid,) = b.pids()
        await asyncio.sleep(0)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while alive(pid) and not (begun.exists() and "pipe_write" in Path(f"/proc/{pid}/wchan").read_text()):
            assert time.monotonic() < deadline
        assert await b.end(task) == Succeeded(json=b'"printed"')


@pytest.mark.parametrize("fails", [False, True])
async def test_of_a_job_that_comes_back_in_two_processes_the_first_result_stays(tmp_path: Path, fails: bool) -> None:
    go, wrote = tmp_path / "go", tmp_path / "wrote"
    async with bench(tmp_path, RUDE_JOBS) as b:
        outcome = await b.run("returns_twice", length=100_000, go=str(go), wrote=str(wrote), fails=fails)
        assert isinstance(outcome, Succeeded) and outcome.file is not None
        go.touch()
        await b.until(wrote.exists)
        await b.until(lambda: not alive(int(wrote.read_text())))
        assert set(Path(outcome.file.path).read_text()) == {'"', "1"}


async def test_the_twin_of_an_asynchronous_job_does_not_stay(tmp_path: Path) -> None:
    async with bench(tmp_path, RUDE_JOBS) as b:
        outcome = await b.run("returns_twice_async")
        assert isinstance(outcome, Succeeded) and outcome.json is not None
        twin = int(outcome.json)
        assert twin > 0
        await b.until(lambda: not alive(twin))
        assert isinstance(await b.run("returns_twice_async"), Succeeded)


@pytest.mark.parametrize("how", ["exit", "later"])
async def test_an_error_that_cannot_say_what_it_is_ends_its_attempt(tmp_path: Path, how: str) -> None:
    async with bench(tmp_path, RUDE_JOBS) as b:
        outcome = failed(await b.run("fails_oddly", how=how), Reason.ERROR)
        assert "cannot be had" in outcome.error.message


async def test_tried_again_in_an_infinite_time_is_in_a_year(tmp_path: Path) -> None:
    """A time without a date could not be shown."""
    async with bench(tmp_path, RUDE_JOBS) as b:
        assert failed(await b.run("fails_oddly", how="inf"), Reason.ERROR).retry_after_seconds == 366 * 86_400


async def test_an_attempt_whose_end_cannot_be_told_ends_with_its_process(tmp_path: Path) -> None:
    async with bench(tmp_path, RUDE_JOBS) as b:
        failed(await b.run("cannot_be_told_of"), Reason.WORKER_LOST, died=True)


async def test_a_result_that_was_written_and_never_told_of_does_not_stay(tmp_path: Path) -> None:
    async with bench(tmp_path, RUDE_JOBS) as b:
        failed(await b.run("dies_with_its_result_written", length=100_000), Reason.WORKER_LOST, died=True)
        await b.until(lambda: not os.listdir(tmp_path / "scratch" / "results"))


async def test_a_result_that_was_written_when_the_job_broke_does_not_stay(tmp_path: Path) -> None:
    async with bench(tmp_path, RUDE_JOBS) as b:
        failed(await b.run("breaks_with_its_result_written"), Reason.ERROR)
        assert not os.listdir(tmp_path / "scratch" / "results")
