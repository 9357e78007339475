"""Every way an attempt can end is told as what it was."""

import os
import signal
from pathlib import Path

import msgspec
import pytest

from offload.core.outcome import Failed, Outcome, Succeeded
from offload.core.task import FileRef, Reason
from offload.ports import Work
from offload.workers.deaths import OomKills
from offload.workers.memory_watch import MemoryWatch
from tests.faults.pools import bench


def failed(outcome: Outcome, reason: Reason, *, retry: bool = True, died: bool = False) -> Failed:
    assert isinstance(outcome, Failed), outcome
    assert (outcome.reason, outcome.retry, outcome.worker_died) == (reason, retry, died), outcome
    return outcome


async def test_a_returned_value_is_the_result(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert await b.run("add", a=1, b=2) == Succeeded(json=b"3")
        assert await b.run("gives", what="nothing") == Succeeded(json=b"null")


async def test_an_exception_is_told_with_its_type_message_and_the_users_lines(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        outcome = failed(await b.run("broken"), Reason.ERROR)
        assert (outcome.error.type, outcome.error.message) == ("ValueError", "it broke")
        assert 'raise ValueError("it broke")' in outcome.error.traceback
        assert "offload/workers" not in outcome.error.traceback
        assert await b.run("add", a=1, b=1) == Succeeded(json=b"2")


async def test_reject_and_retry_later_mean_what_they_say(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert failed(await b.run("rejects"), Reason.REJECTED, retry=False).error.message == "not this"
        assert failed(await b.run("later"), Reason.ERROR).retry_after_seconds == 7


@pytest.mark.parametrize("what", ["nan", "object", "loop", "surrogate", "bytes"])
async def test_what_json_cannot_hold_is_a_failure_that_says_so(tmp_path: Path, what: str) -> None:
    async with bench(tmp_path) as b:
        assert failed(await b.run("gives", what=what), Reason.ERROR, retry=False).error.message
        assert await b.run("add", a=1, b=1) == Succeeded(json=b"2")


async def test_json_too_large_for_a_frame_comes_as_a_file_that_the_listener_owns(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        outcome = await b.run("gives", what="large")
        assert isinstance(outcome, Succeeded) and outcome.file is not None and outcome.json is None
        assert outcome.file.type == "application/json"
        assert msgspec.json.decode(Path(outcome.file.path).read_bytes()) == "x" * 100_000
        assert outcome.file.size == Path(outcome.file.path).stat().st_size


async def test_a_result_beyond_the_limit_is_refused_with_size_and_limit(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert isinstance(await b.run("gives_much", length=998), Succeeded)
        outcome = failed(await b.run("gives_much", length=999), Reason.RESULT_TOO_LARGE, retry=False)
        assert "1,001" in outcome.error.message and "1,000" in outcome.error.message


async def test_a_returned_file_is_moved_out_of_the_scratch_directory(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        outcome = await b.run("writes_file", text="hello")
        assert isinstance(outcome, Succeeded) and outcome.file is not None
        assert (outcome.file.name, outcome.file.type, outcome.file.size) == ("note.txt", "text/plain", 5)
        assert Path(outcome.file.path).read_text() == "hello"


async def test_a_returned_path_of_the_users_own_file_is_copied(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("a,b")
    async with bench(tmp_path) as b:
        outcome = await b.run("returns_path", path=str(own))
        assert isinstance(outcome, Succeeded) and outcome.file is not None
        assert Path(outcome.file.path).read_text() == "a,b" and outcome.file.name == "own.csv"
        assert own.read_text() == "a,b"
        gone = failed(await b.run("returns_path", path=str(tmp_path / "none")), Reason.ERROR, retry=False)
        assert "none" in gone.error.message


async def test_an_input_file_is_read_where_it_is(tmp_path: Path) -> None:
    stored = tmp_path / "blob"
    stored.write_text("words")
    async with bench(tmp_path) as b:
        file = FileRef(blob="b/1", name="cat.txt", type="text/plain", size=5, field="text")
        task = msgspec.structs.replace(b.task("upper", text=None), files=(file,))
        b.pool.run(Work(task=task, paths={"b/1": str(stored)}))
        assert await b.end(task) == Succeeded(json=b'"cat.txt text/plain WORDS"')


async def test_every_attempt_finds_an_empty_directory(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        for _ in range(3):
            assert await b.run("litters") == Succeeded(json=b"[]")
        scratch = tmp_path / "scratch"
        # os.walk, because directories vanish while it looks
        await b.until(lambda: not [root for root, _, files in os.walk(scratch) if "over" in files])


async def test_a_class_is_built_once_in_each_process(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        first, second = await b.run("greets", name="a"), await b.run("greets", name="a")
        assert first == second == Succeeded(json=f'"hello a, 1 built in {b.pids()[0]}"'.encode())


async def test_a_context_knows_its_task(tmp_path: Path) -> None:
    async with bench(tmp_path, timeout_seconds=60.0) as b:
        task = msgspec.structs.replace(b.task("describes_itself"), attempt=3, tags={"colour": "red"})
        b.pool.run(Work(task=task))
        outcome = await b.end(task)
        assert isinstance(outcome, Succeeded) and outcome.json is not None
        told = {"id": task.id, "attempt": 3, "tags": {"colour": "red"}, "canceled": False}
        assert msgspec.json.decode(outcome.json) == told
        assert b.ear.log(task.id) == "a line\n"


async def test_a_generators_values_are_told_as_they_come_and_are_the_result(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with bench(tmp_path) as b:
        task = await b.start("counts", up_to=5000)
        outcome = await b.end(task)
        assert isinstance(outcome, Succeeded) and outcome.json is not None
        assert msgspec.json.decode(outcome.json) == b.ear.outputs(task.id) == list(range(5000))
        slow, _ = await b.begin("counts_slowly", go=str(go))
        await b.until(lambda: bool(b.ear.outputs(slow.id)))
        assert slow.id not in b.ear.outcomes
        go.touch()
        assert await b.end(slow) == Succeeded(json=b"[1,2]")


async def test_sys_exit_is_an_error_of_the_job_and_the_worker_lives(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        before = b.pids()
        assert failed(await b.run("says_exit", code=3), Reason.ERROR).error.message == "the job called sys.exit(3)"
        assert b.pids() == before


@pytest.mark.parametrize("code", [0, 7])
async def test_leaving_without_a_result_is_a_lost_worker_that_names_the_code(tmp_path: Path, code: int) -> None:
    async with bench(tmp_path) as b:
        outcome = failed(await b.run("leaves", code=code), Reason.WORKER_LOST, died=True)
        assert f"exited with code {code}" in outcome.error.message
        assert await b.run("add", a=1, b=1) == Succeeded(json=b"2")


async def test_a_crash_in_c_is_named_and_its_place_is_in_the_log(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        task = await b.start("crashes_in_c")
        outcome = failed(await b.end(task), Reason.WORKER_LOST, died=True)
        assert "SIGSEGV" in outcome.error.message and "memory ran out" not in outcome.error.message
        assert "crashes_in_c" in b.ear.log(task.id)


async def test_a_killed_worker_is_noticed_at_once_and_replaced(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        task, pid = await b.begin("sleeps", seconds=60)
        os.kill(pid, signal.SIGKILL)
        outcome = failed(await b.end(task), Reason.WORKER_LOST, died=True)
        assert "SIGKILL" in outcome.error.message
        places = tmp_path / "scratch"
        await b.until(lambda: len(os.listdir(places)) == 2 and b.places("add") == 1)  # the results, and its successor's
        assert await b.run("add", a=2, b=2) == Succeeded(json=b"4")
        assert b.pids() != [pid]


async def test_a_memory_error_is_told_and_its_process_is_replaced(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        before = b.pids()
        failed(await b.run("out_of_memory"), Reason.OUT_OF_MEMORY)
        assert await b.run("add", a=2, b=2) == Succeeded(json=b"4")
        assert b.pids() != before


async def test_a_job_cannot_take_more_memory_than_it_may_and_the_next_is_free_of_its_limit(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        assert isinstance(await b.run("eats", megabytes=20), Succeeded)
        assert "MemoryError" in failed(await b.run("eats", megabytes=400), Reason.OUT_OF_MEMORY).error.type


async def test_the_memory_of_a_jobs_own_processes_counts(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        outcome = failed(await b.run("feeds_a_child"), Reason.OUT_OF_MEMORY, died=True)
        assert "its limit is 143 MiB" in outcome.error.message
        assert await b.run("add", a=2, b=2) == Succeeded(json=b"4")


async def test_what_an_earlier_server_left_in_the_scratch_directory_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "scratch" / "deadbeef" / "1" / "left"
    left.parent.mkdir(parents=True)
    left.touch()
    async with bench(tmp_path):
        assert not left.exists()


def test_kills_for_want_of_memory_are_counted_from_one_look_to_the_next(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("oom 1\noom_kill 3\n")
    kills = OomKills([counter, tmp_path / "not there"])
    assert not kills.more()
    counter.write_text("oom 1\noom_kill 4\n")
    assert kills.more()
    assert not kills.more()
    counter.rename(tmp_path / "away")  # as one that cannot be opened for a moment
    assert not kills.more()
    (tmp_path / "away").rename(counter)
    assert not kills.more(), "those are the old ones"


async def test_memory_that_was_measured_while_another_attempt_ran_ends_no_attempt() -> None:
    """The first, which may have it, ends while its process is measured; the next may not."""
    limits = [2**50, 1, 2**50, 1, 1, 1]
    over: list[int] = []

    def limited() -> dict[int, int]:
        return {os.getpid(): limits.pop(0)} if limits and not over else {}

    def tell(pid: int, used_bytes: int) -> None:
        over.append(len(limits))

    watch = MemoryWatch(limited, tell)
    watch.wake()
    assert watch._looking is not None
    await watch._looking
    watch.stop()
    assert over == [0], "in the third look, which began and ended with the one that may not"
