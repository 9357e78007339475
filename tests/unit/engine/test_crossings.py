"""Changes that the store has taken and could not confirm in time: what crosses them, on one node and between nodes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from offload import job
from offload.core.catalog import Catalog
from offload.core.errors import StoreUnavailable
from offload.core.outcome import LocalFile, Succeeded, Unrun
from offload.core.task import Status, Task, TaskError
from offload.core.transitions import Change, Event, Facts, decide
from offload.engine.parts import Timing
from offload.ports import Ask
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import HandClock, Kit, Together, Wrapped, kit
from tests.unit.engine.waiting import until, until_async


@job
def noop() -> int:
    return 1


CATALOG = Catalog.of_jobs(noop)
A = "10000000-0000-4000-8000-000000000000"
B = "20000000-0000-4000-8000-000000000000"


class LateStore:
    """A store whose answers to changes come late; the changes themselves do not."""

    def __init__(self, memory: MemoryStore) -> None:
        self._memory = memory
        self.answers = asyncio.Event()
        self.answers.set()
        self.answered = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._memory, name)

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        written = await self._memory.apply(changes)
        await self.answers.wait()
        self.answered += 1
        return written


async def test_a_task_that_is_claimed_anew_before_its_release_could_be_told_is_held(tmp_path: Path) -> None:
    wrapped = Wrapped(LateStore)
    async with kit(tmp_path, CATALOG, wrap_store=wrapped) as it:
        await it.submit(task_id=A)
        await until(lambda: A in it.workers.running)
        wrapped.made.answers.clear()
        it.workers.end(A, Unrun())
        await until(lambda: it.workers.started == [A, A])
        wrapped.made.answers.set()
        await until(lambda: wrapped.made.answered == 1)
        await asyncio.sleep(0.01)  # nothing tells that the dispatcher has heard of it
        it.succeed(A)
        await until_async(lambda: _is(it, A, Status.DONE))


async def test_an_end_that_the_store_took_and_could_not_confirm_is_recorded_once(tmp_path: Path) -> None:
    class LostAnswers(LateStore):
        failures = 1

        async def apply(self, changes: Sequence[Change]) -> list[bool]:
            written = await super().apply(changes)
            if changes[0].after.status is Status.DONE and self.failures:
                self.failures -= 1
                raise StoreUnavailable("the connection was lost", retry_seconds=1)
            return written

    async with kit(tmp_path, CATALOG, wrap_store=LostAnswers) as it:  # type: ignore[arg-type]
        await it.submit(task_id=A)
        await until(lambda: A in it.workers.running)
        result = tmp_path / "result"
        result.write_bytes(b"large")
        it.workers.end(A, Succeeded(file=LocalFile(path=str(result), name="a", type="text/plain", size=5)))
        await until(lambda: it.engine.stats.store_retries == 1)
        await until(lambda: it.engine.stats.finished.total() == 1)
        task = await it.get(A)
        assert task.result_file is not None
        assert (await it.engine.blobs.local_path(task.result_file.blob)).read_bytes() == b"large"
        assert it.engine.stats.stale_results == 0


class FailedOver:
    """A store that knows nothing any more of what it said before, and counts from where it was."""

    def __init__(self, memory: MemoryStore) -> None:
        self.memory = memory

    def __getattr__(self, name: str) -> object:
        return getattr(self.memory, name)


async def test_an_attempt_whose_task_the_store_has_lost_does_not_end_the_one_that_has_its_key(tmp_path: Path) -> None:
    wrapped = Wrapped(FailedOver)
    async with kit(tmp_path, CATALOG, places=2, wrap_store=wrapped) as it:
        it.workers.cancels_at_once = False
        lost = await it.submit(task_id=A)
        await until(lambda: A in it.workers.running)
        wrapped.made.memory = MemoryStore()
        assert (await it.submit(task_id=B)).key == lost.key
        await until(lambda: B in it.workers.running)
        it.succeed(A, b'"of another"')
        await until(lambda: it.engine.stats.stale_results == 1)
        assert (await it.get(B)).status is Status.RUNNING
        it.succeed(B, b"1")
        await until_async(lambda: _is(it, B, Status.DONE))
        assert (await it.get(B)).result == b"1"


class LateClaim(FailedOver):
    """A store whose first claim is answered when its lease has ended, and somebody has taken the task back."""

    clock: HandClock | None = None

    async def claim(self, asks: Sequence[Ask], *, node: str, now: float, lease_until: float) -> list[Task]:
        claimed = await self.memory.claim(asks, node=node, now=now, lease_until=lease_until)
        if claimed and self.clock is not None:
            self.clock.at = now = lease_until + 1
            self.clock = None
            error = TaskError(type="NodeLost", message="the node was lost")
            lost = Facts(now=now, run_at=now + 3600, error=error, worker_died=True)
            assert await self.memory.apply([decide(claimed[0], Event.RETRY, lost)]) == [True]
        return claimed


async def test_a_claim_that_is_answered_after_the_end_of_its_lease_begins_nothing_that_was_taken_back(
    tmp_path: Path,
) -> None:
    together, wrapped = Together(), Wrapped(LateClaim)
    async with kit(tmp_path, CATALOG, wrap_store=wrapped, together=together) as it:
        wrapped.made.clock = together.clock
        await it.submit(task_id=A)
        await until(lambda: wrapped.made.clock is None)
        await it.submit(task_id=B)
        await until(lambda: bool(it.workers.started))
        assert it.workers.started == [B]
        assert (await it.get(A)).status is Status.QUEUED


class Surprising(FailedOver):
    """A store that fails once at each of these calls, in a way that nobody foresaw."""

    def __init__(self, memory: MemoryStore) -> None:
        super().__init__(memory)
        self.left = ["claim", "apply", "renew"]

    def __getattr__(self, name: str) -> object:
        if name in self.left:
            self.left.remove(name)
            return self._fail
        return super().__getattr__(name)

    async def _fail(self, *given: object, **named: object) -> object:
        raise RuntimeError("this cannot happen")


async def test_nothing_that_a_store_says_keeps_a_node_from_claiming_renewing_and_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offload.engine.ledger.PAUSE_SECONDS_MAX", 0.01)
    wrapped = Wrapped(Surprising)
    timing = Timing(sweep_seconds=60, heartbeat_seconds=0.02)
    async with kit(tmp_path, CATALOG, wrap_store=wrapped, timing=timing) as it:
        await it.submit(task_id=A)
        await until(lambda: A in it.workers.running)
        it.clock.at += 20
        await until(lambda: "renew" not in wrapped.made.left)
        await until_async(lambda: _is_renewed(it, A))
        it.succeed(A)
        await until(lambda: it.engine.stats.finished.total() == 1)
        assert (await it.get(A)).status is Status.DONE and not wrapped.made.left


async def _is_renewed(it: Kit, task_id: str) -> bool:
    return (await it.get(task_id)).lease_until == it.clock.at + 30.0


async def _is(it: Kit, task_id: str, status: Status) -> bool:
    return (await it.get(task_id)).status is status
