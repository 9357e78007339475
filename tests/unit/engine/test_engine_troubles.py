"""What the engine does when the store, the disk or time itself makes trouble, and what it lets go in the end."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from offload.core.errors import DiskFull, StoreUnavailable
from offload.core.outcome import LocalFile, Succeeded, Unrun
from offload.core.task import ALL, Reason, Status
from offload.core.transitions import Change, Event, Facts, decide
from offload.engine.parts import Timing
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import Wrapped, kit
from tests.unit.engine.steps import CATALOG, status_is, submit
from tests.unit.engine.waiting import until, until_async


class TroubledStore:
    """A store whose writes fail while there is trouble."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.trouble: Exception | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        if self.trouble is not None:
            raise self.trouble
        return await self._store.apply(changes)


@pytest.mark.parametrize("trouble", [DiskFull("full"), StoreUnavailable("gone")])
async def test_a_result_is_held_while_the_store_cannot_write(tmp_path: Path, trouble: Exception) -> None:
    wrapped = Wrapped(TroubledStore)
    async with kit(tmp_path, CATALOG, wrap_store=wrapped) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        wrapped.made.trouble = trouble
        it.succeed(task_id)
        await until(lambda: it.engine.stats.store_retries >= 2)
        assert (await it.get(task_id)).status is Status.RUNNING
        wrapped.made.trouble = None
        await status_is(it, task_id, Status.DONE)


async def test_the_result_of_an_attempt_that_lost_its_task_is_dropped(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        stolen = decide(await it.get(task_id), Event.RETRY, Facts(now=it.clock.now(), run_at=it.clock.now() + 1000.0))
        assert await it.store.apply([stolen]) == [True]
        it.succeed(task_id)
        await until(lambda: it.engine.stats.stale_results == 1)
        assert (await it.get(task_id)).status is Status.QUEUED


async def test_a_result_file_is_stored_before_the_task_is_done(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        made = tmp_path / "made.txt"
        made.write_bytes(b"hello")
        it.workers.end(task_id, Succeeded(file=LocalFile(path=str(made), name="a.txt", type="text/plain", size=5)))
        done = await status_is(it, task_id, Status.DONE)
        assert done.result_file is not None and done.result_file.size == 5
        read = b"".join([piece async for piece in it.engine.blobs.read(done.result_file.blob)])
        assert read == b"hello"
        await it.engine.delete(ALL, task_id)
        assert await it.engine.blobs.prefixes("t", older_than_seconds=0.0) == []


async def test_an_eta_appears_once_there_are_samples(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG, timing=None) as it:
        for _ in range(6):
            task_id = await submit(it)
            await until(lambda task_id=task_id: task_id in it.workers.running)  # type: ignore[misc]
            it.clock.at += 2.0
            it.succeed(task_id)
            await status_is(it, task_id, Status.DONE)
        first, second = await submit(it), await submit(it)
        await until(lambda: first in it.workers.running)
        view = await it.engine.view(await it.get(second))
        assert view.position == 0
        assert view.eta_seconds == pytest.approx(2.0)
        running = await it.engine.view(await it.get(first))
        assert running.eta_seconds == pytest.approx(2.0)


async def test_payloads_rows_and_forgotten_tasks_go_when_their_time_is_over(tmp_path: Path) -> None:
    timing = Timing(sweep_seconds=0.02, payload_seconds=100.0, audit_seconds=1000.0)
    async with kit(tmp_path, CATALOG, timing=timing) as it:
        done, forgotten = await submit(it, input=b'{"a":1}'), await submit(it, run=False)
        await until(lambda: done in it.workers.running)
        it.succeed(done)
        await status_is(it, done, Status.DONE)
        it.clock.at += 101.0

        async def dropped() -> bool:
            return (await it.get(done)).payload_dropped

        await until_async(dropped)
        await status_is(it, forgotten, Status.CANCELED)
        assert (await it.get(done)).result is None
        assert [event.kind for event in await it.engine.events(ALL, done)] == ["status"] * 3
        it.clock.at += 1000.0

        async def gone() -> bool:
            return await it.store.get(ALL, done) is None

        await until_async(gone)


async def test_a_begun_attempt_that_is_given_back_counts_only_for_a_task_that_is_tried_once(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG, places=2) as it:
        often, once = await submit(it), await submit(it, "once")
        await until(lambda: len(it.workers.running) == 2)
        it.workers.end(often, Unrun(started=True))
        it.workers.end(once, Unrun(started=True))
        failed = await status_is(it, once, Status.FAILED)
        assert (failed.reason, failed.attempt) == (Reason.WORKER_LOST, 1)
        await until(lambda: often in it.workers.running)
        assert (await it.get(often)).attempt == 1


async def test_an_attempt_that_never_began_is_given_back_also_when_it_is_tried_once(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        once = await submit(it, "once")
        await until(lambda: once in it.workers.running)
        it.workers.end(once, Unrun())
        await until(lambda: once in it.workers.running)
