"""A server that is short of descriptors or threads for a moment loses nothing by it, and nothing for longer."""

import asyncio
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from offload.core.outcome import Outcome, Unrun
from offload.core.task import Reason, Task, TaskEvent
from offload.ports import Work
from offload.workers.process import Exit, Process
from tests.faults.pools import PATIENCE_SECONDS, Ear, alive, bench
from tests.faults.test_workers_outcomes import failed


@contextmanager
def descriptors_left(number: int) -> Iterator[None]:
    """Leave so many descriptors to this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}
    limit = 0
    while limit in used or number > 0:
        number -= limit not in used
        limit += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_process_that_cannot_be_started_for_want_of_descriptors_takes_none(tmp_path: Path) -> None:
    """It is tried again twice a second: what each try kept would make it worse until nothing worked."""

    def ended(exit: Exit) -> None:
        raise AssertionError("none was started")

    for left in range(9):
        before = os.listdir("/proc/self/fd")
        with descriptors_left(left), pytest.raises(OSError, match="Too many open files"):
            Process.start(dict(os.environ), ended)
        assert os.listdir("/proc/self/fd") == before, f"with {left} left"


async def test_memory_is_watched_on_after_a_moment_in_which_it_could_not_be_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path, workers=2) as b:
        task = await b.start("feeds_a_child")
        with descriptors_left(0):
            await b.until(lambda: "cannot see what memory" in caplog.text)
        failed(await b.end(task), Reason.OUT_OF_MEMORY, died=True)


async def test_a_pool_stops_when_no_thread_can_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = threading.Event()

    def no_start(thread: threading.Thread) -> None:
        refused.set()
        raise RuntimeError("can't start new thread")

    async with bench(tmp_path, grace_seconds=0.1) as b:
        task, pid = await b.begin("ignores_everything")
        b.pool._threads.submit(refused.wait)  # the thread that is there has something to do
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_start)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await b.pool.stop(grace_seconds=0.0)
        assert refused.is_set() and not alive(pid)
        assert b.ear.outcomes == {task.id: Unrun(started=True)}
        await b.until(lambda: os.listdir(tmp_path / "scratch") == ["results"])


class Late(Ear):
    """A listener that hands over one more when it hears of an end."""

    def __init__(self) -> None:
        super().__init__()
        self.one_more = lambda: None

    def ended(self, task: Task, outcome: Outcome, last_words: tuple[TaskEvent, ...]) -> None:
        super().ended(task, outcome, last_words)
        one_more, self.one_more = self.one_more, lambda: None
        asyncio.get_running_loop().call_soon(one_more)


async def test_what_is_handed_over_in_the_last_moment_of_a_stop_is_given_back(tmp_path: Path) -> None:
    async with bench(tmp_path, grace_seconds=0.1) as b:
        task, _ = await b.begin("ignores_everything")
        late = b.task("add", a=1, b=1)
        ear = Late()
        ear.one_more = lambda: b.pool.run(Work(task=late))
        b.pool._listener = b.ear = ear
        await b.pool.stop(grace_seconds=0.0)
        assert ear.outcomes == {task.id: Unrun(started=True), late.id: Unrun()}
