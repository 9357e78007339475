"""Every way an attempt can end is told as what it was."""

import os
import signal
from pathlib import Path

import pytest

from offload.core.outcome import Failed, Succeeded
from offload.core.task import Reason
from tests.faults.pools import bench


async def test_a_returned_value_is_the_result(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert await b.run("add", a=1, b=2) == Succeeded(json=b"3")


async def test_an_exception_is_told_with_its_type_message_and_the_users_lines(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        outcome = await b.run("broken")
        assert isinstance(outcome, Failed) and outcome.reason is Reason.ERROR and outcome.retry
        assert (outcome.error.type, outcome.error.message) == ("ValueError", "it broke")
        assert 'raise ValueError("it broke")' in outcome.error.traceback
        assert "offload/workers" not in outcome.error.traceback
        assert not outcome.worker_died
        assert await b.run("add", a=1, b=1) == Succeeded(json=b"2")


async def test_reject_and_retry_later_mean_what_they_say(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        rejected = await b.run("rejects")
        assert isinstance(rejected, Failed) and rejected.reason is Reason.REJECTED and not rejected.retry
        later = await b.run("later")
        assert isinstance(later, Failed) and later.retry_after_seconds == 7 and later.retry


async def test_sys_exit_is_an_error_of_the_job_and_the_worker_lives(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        before = b.pids()
        outcome = await b.run("says_exit", code=3)
        assert isinstance(outcome, Failed) and outcome.reason is Reason.ERROR
        assert outcome.error.message == "the job called sys.exit(3)"
        assert b.pids() == before


@pytest.mark.parametrize("code", [0, 7])
async def test_leaving_without_a_result_is_a_lost_worker_that_names_the_code(tmp_path: Path, code: int) -> None:
    async with bench(tmp_path) as b:
        outcome = await b.run("leaves", code=code)
        assert isinstance(outcome, Failed) and outcome.reason is Reason.WORKER_LOST and outcome.worker_died
        assert f"exited with code {code}" in outcome.error.message
        assert await b.run("add", a=1, b=1) == Succeeded(json=b"2")


async def test_a_fatal_signal_is_named(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        outcome = await b.run("kills_itself", number=int(signal.SIGSEGV))
        assert isinstance(outcome, Failed) and outcome.worker_died
        assert "SIGSEGV" in outcome.error.message
        assert "memory ran out" not in outcome.error.message


async def test_a_killed_worker_is_noticed_at_once_and_replaced(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        task, pid = await b.begin("sleeps", seconds=60)
        os.kill(pid, signal.SIGKILL)
        await b.until(lambda: task.id in b.ear.outcomes, seconds=5)
        outcome = b.ear.outcomes[task.id]
        assert isinstance(outcome, Failed) and outcome.reason is Reason.WORKER_LOST and outcome.worker_died
        assert "SIGKILL" in outcome.error.message
        assert await b.run("add", a=2, b=2) == Succeeded(json=b"4")
        assert b.pids() != [pid]
