"""What a job says arrives under its own task, bounded, in order, and never after its end."""

import asyncio
import os
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from offload.core.outcome import Succeeded
from offload.ports import Note, Work
from offload.workers.capture import OutputPipe
from offload.workers.protocol import end_mark
from tests.faults.pools import Ear, bench


async def test_everything_that_a_job_prints_is_in_its_log_in_order(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        task = await b.start("speaks", name="ada")
        await b.end(task)
        log = b.ear.log(task.id)
        ways = ("print", "error", "logging", "descriptor", "process")
        places = [log.index(f"ada {way}") for way in ways]
        assert places == sorted(places)
        assert "ada printf" in log  # C keeps it until the end
        assert "not shown" not in log


async def test_a_note_that_nobody_takes_does_not_cost_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They may come in one piece: the end behind the note must be heard all the same."""

    class Deaf(Ear):
        def noted(self, note: Note) -> None:
            raise RuntimeError("it does not listen")

    async with bench(tmp_path) as b:
        b.pool._listener = b.ear = Deaf()
        for _ in range(5):
            assert await b.run("tells_progress", times=3) == Succeeded(json=b'"done"')
        assert "it does not listen" in caplog.text


async def test_tasks_that_wait_behind_each_other_keep_their_own_output(tmp_path: Path) -> None:
    async with bench(tmp_path, unhurried=True) as b:
        await b.make_room()
        tasks = [b.task("prints", text=f"words of {number}") for number in range(b.places("prints"))]
        assert len(tasks) > 5
        for task in tasks:
            b.pool.run(Work(task=task))
        for number, task in enumerate(tasks):
            assert isinstance(await b.end(task), Succeeded)
            assert b.ear.log(task.id) == f"words of {number}\n"


async def test_a_flood_of_output_is_cut_in_the_middle_and_disturbs_nobody(tmp_path: Path) -> None:
    async with bench(tmp_path, log_bytes_max=10_000) as b:
        memory_before = psutil.Process().memory_info().rss
        slowest = 0.0
        task = await b.start("floods", megabytes=300)
        while task.id not in b.ear.outcomes:
            began = time.monotonic()
            await asyncio.sleep(0.001)
            slowest = max(slowest, time.monotonic() - began)
        assert b.ear.outcomes[task.id] == Succeeded(json=b'"done"')
        log = b.ear.log(task.id)
        assert log.startswith("the first line\n") and log.endswith("the last line\n")
        assert "bytes of output left out" in log
        assert len(log) < 11_000
        assert psutil.Process().memory_info().rss - memory_before < 50 * 2**20
        assert slowest < 3.0  # the loop was never held up for long, on however slow a machine


async def test_a_flood_from_c_with_the_interpreter_locked_cannot_stop_the_job(tmp_path: Path) -> None:
    async with bench(tmp_path, log_bytes_max=10_000) as b:
        task = await b.start("floods_from_c", lines=20_000)
        assert await b.end(task) == Succeeded(json=b'"done"')
        assert len(b.ear.log(task.id)) < 11_000


async def test_a_job_that_ruins_its_output_hurts_only_itself(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        pids = b.pids()
        assert await b.run("ruins_its_output") == Succeeded(json=b'"done"')
        task = await b.start("speaks", name="next")
        await b.end(task)
        for way in ("print", "error", "descriptor"):
            assert f"next {way}" in b.ear.log(task.id)
        assert b.pids() == pids


async def test_output_is_told_while_the_job_runs(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        task, _ = await b.begin("sleeps", seconds=0.0)
        await b.end(task)
        long = await b.start("floods", megabytes=200)
        await b.until(lambda: long.id in b.ear.notes or long.id in b.ear.outcomes)
        assert long.id in b.ear.notes


async def test_characters_that_are_cut_between_two_reads_stay_whole(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        task = await b.start("prints", text="äöü€🙂" * 9_000)
        await b.end(task)
        assert b.ear.log(task.id) == "äöü€🙂" * 9_000 + "\n"


async def test_progress_is_coalesced_and_the_newest_wins(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        began = time.monotonic()
        task = await b.start("tells_progress", times=100_000)
        await b.end(task)
        took = time.monotonic() - began
        told = [note.progress for note in b.ear.notes[task.id] if note.progress is not None]
        assert len(told) <= 5 * took + 2
        assert told[-1].message == "the end" and told[-1].fraction == 1.0


async def test_progress_that_came_too_soon_is_told_a_moment_later(tmp_path: Path) -> None:
    go = tmp_path / "go"
    async with bench(tmp_path) as b:
        task, _ = await b.begin("tells_progress_twice", go=str(go))
        await b.until(lambda: len(b.ear.notes.get(task.id, [])) == 2)
        newest = b.ear.notes[task.id][-1].progress
        assert newest is not None and newest.message == "newest"
        go.touch()
        assert isinstance(await b.end(task), Succeeded)


async def test_nothing_is_said_after_the_end(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        task = await b.start("speaks_after_its_end")
        await b.end(task)
        for _ in range(20):  # the ear refuses what comes late
            await b.run("sleeps", begun=str(tmp_path / "begun"), seconds=0.02)


async def test_workers_see_only_the_environment_they_are_given(tmp_path: Path) -> None:
    async with bench(tmp_path, environment={"PATH": os.environ["PATH"], "GIVEN": "1"}) as b:
        outcome = await b.run("sees_environment")
        assert isinstance(outcome, Succeeded) and outcome.json is not None
        names = {line.partition("=")[0] for line in msgspec.json.decode(outcome.json, type=list[str])}
        assert names <= {"PATH", "GIVEN", "OFFLOAD_CHILD", "OFFLOAD_NODE", "LC_CTYPE"}


async def test_what_was_printed_before_an_end_is_taken_before_the_end_is_told() -> None:
    """The end of an attempt and its output come by two ways; the first must not overtake the second."""
    heard: list[tuple[int, bytes]] = []
    read_fd, write_fd = os.pipe()
    pipe = OutputPipe(read_fd, mark=b"\0mark:", on_output=lambda ended, data: heard.append((ended, data)))
    os.write(write_fd, b"one" + end_mark(b"\0mark:", 1) + b"two\0mark" + end_mark(b"\0mark:", 2) + b"three\0ma")
    pipe.until(2)
    assert b"".join(data for ended, data in heard if ended == 0) == b"one"
    assert b"".join(data for ended, data in heard if ended == 1) == b"two\0mark"
    os.close(write_fd)
    pipe.close()
    assert b"".join(data for ended, data in heard if ended == 2) == b"three\0ma"
