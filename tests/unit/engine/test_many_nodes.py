"""Several nodes on one store: what is done on one is known on the others, quickly with a bell and surely without."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offload import job
from offload.core.admission import Capacity
from offload.core.catalog import Catalog
from offload.core.errors import QueueFull, StoreUnavailable
from offload.core.keys import KeyScope, Wish
from offload.core.outcome import Succeeded
from offload.core.ring import DELIVERIES, KEYS, Ring
from offload.core.task import ALL, Progress, Scope, Status
from offload.engine.keyring import Keyring
from offload.engine.moves import Moved
from offload.engine.parts import Timing
from offload.ports import Note
from offload.ports.bell import Bell
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import Kit, Together, kit
from tests.unit.engine.waiting import until, until_async


@job
def noop() -> int:
    return 1


CATALOG = Catalog.of_jobs(noop)
A, B, C = (f"{n}0000000-0000-4000-8000-000000000000" for n in range(1, 4))
SLOW = Timing(sweep_seconds=3600, heartbeat_seconds=3600, count_seconds=3600, look_seconds=3600, stop_seconds=5.0)
"""Nothing is found by looking: what happens, happens by the bell."""
BEATING = Timing(sweep_seconds=3600, heartbeat_seconds=50, count_seconds=3600, look_seconds=3600)
"""Nothing is found by looking, and a lease that has ended is one that needs renewal."""
DEAF = Timing(sweep_seconds=0.02, heartbeat_seconds=0.02, count_seconds=0.02, look_seconds=0.02, stop_seconds=5.0)
"""Everything is found by looking, soon."""


class MuteBell:
    """Loses everything."""

    alone = False

    async def start(self, hear: Callable[[Ring], None]) -> None:
        pass

    async def ring(self, ring: Ring) -> None:
        pass

    async def stop(self) -> None:
        pass


class Deaf(Together):
    def bell(self) -> Bell:
        return MuteBell()


@pytest.fixture(params=["by the bell", "by looking"])
def way(request: pytest.FixtureRequest) -> tuple[Callable[[], Together], Timing]:
    return (Together, SLOW) if request.param == "by the bell" else (Deaf, DEAF)


Way = tuple[Callable[[], Together], Timing]


@asynccontextmanager
async def two_nodes(root: Path, way: Way, *, capacity: Capacity | None = None) -> AsyncIterator[tuple[Kit, Kit]]:
    """Start one node that only accepts and one that works."""
    make, timing = way
    together = make()
    async with (
        kit(
            root / "front", CATALOG, together=together, node="front", runs=(), timing=timing, capacity=capacity
        ) as front,
        kit(root / "back", CATALOG, together=together, node="back", timing=timing, capacity=capacity) as back,
    ):
        yield front, back


async def test_a_task_that_one_node_accepts_runs_on_another_and_its_end_wakes_who_waits(
    tmp_path: Path, way: Way
) -> None:
    async with two_nodes(tmp_path, way) as (front, back):
        await front.submit(task_id=A)
        waiting = asyncio.create_task(front.engine.wait(ALL, A, 3600))
        await until(lambda: A in back.workers.running)
        back.succeed(A)
        front.clock.at += 1  # `wait` goes by the clock only
        async with asyncio.timeout(20):
            assert (await waiting).status is Status.DONE


async def test_what_a_node_does_with_callbacks_moves_the_lists_that_others_show(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, (Together, SLOW)) as (front, back):
        moves = front.engine.callbacks.moves
        before = moves.number
        back.engine.parts.ringer.topic(DELIVERIES)
        await until(lambda: moves.since(before, ALL) is not None)
        assert moves.since(before, Scope(owner="anna")) == Moved(tasks=None), "it may be anybody's"


async def test_a_stream_on_one_node_tells_what_happens_on_another(tmp_path: Path, way: Way) -> None:
    async with two_nodes(tmp_path, way) as (front, back):
        await front.submit(task_id=A)
        await until(lambda: A in back.workers.running)
        kinds: list[str] = []

        async def read() -> None:
            async for events in front.engine.streams.follow(ALL, A, after=0, beat_seconds=3600):
                kinds.extend(event.kind for event in events)

        reading = asyncio.create_task(read())
        await until(lambda: kinds == ["status", "status"])
        back.workers.note(Note(task=back.workers.running[A], progress=Progress(fraction=0.5, message="half")))
        await until(lambda: kinds == ["status", "status", "progress"])
        back.succeed(A)
        async with asyncio.timeout(20):
            await reading
        assert kinds == ["status", "status", "progress", "status"]


async def test_a_cancel_on_one_node_reaches_the_attempt_on_another(tmp_path: Path, way: Way) -> None:
    async with two_nodes(tmp_path, way) as (front, back):
        await front.submit(task_id=A)
        await until(lambda: A in back.workers.running)
        assert (await front.engine.cancel(ALL, A)).cancel_requested
        front.clock.at += 20  # a lease that needs renewal: canceled attempts are found when it is
        await until(lambda: back.workers.canceled == [A])
        await until_async(lambda: _is(front, A, Status.CANCELED))


async def test_a_delete_on_one_node_stops_the_attempt_on_another(tmp_path: Path, way: Way) -> None:
    async with two_nodes(tmp_path, way) as (front, back):
        await front.submit(task_id=A)
        await until(lambda: A in back.workers.running)
        deleting = asyncio.create_task(front.engine.delete(ALL, A))
        await until_async(lambda: _is_to_stop(front, A))
        front.clock.at += 1  # as above, but `delete` goes by the clock as well, and would give up
        async with asyncio.timeout(20):
            assert (await deleting).status is Status.DELETED
        assert back.workers.canceled == [A]


async def test_a_queue_that_is_paused_on_one_node_is_paused_on_all(tmp_path: Path, way: Way) -> None:
    async with two_nodes(tmp_path, way) as (front, back):
        await front.engine.set_paused("default", True)
        await until_async(lambda: _state(back, "paused"))
        await front.submit(task_id=A)
        assert not back.workers.running
        await front.engine.set_paused("default", False)
        await until(lambda: A in back.workers.running)


async def test_a_delayed_task_is_run_elsewhere_when_its_time_comes(tmp_path: Path, way: Way) -> None:
    async with two_nodes(tmp_path, way) as (front, back):
        await front.submit(task_id=A, delay_seconds=0.05)
        await until_async(lambda: _is(front, A, Status.QUEUED))
        front.clock.at += 10
        await until(lambda: A in back.workers.running)


async def test_a_node_without_room_tells_one_that_has(tmp_path: Path) -> None:
    together = Together()
    async with (
        kit(tmp_path / "1", CATALOG, together=together, node="one", timing=SLOW) as one,
        kit(tmp_path / "2", CATALOG, together=together, node="two", timing=SLOW) as two,
    ):
        await one.submit(task_id=A)
        await one.submit(task_id=B)
        await until(lambda: {*one.workers.running, *two.workers.running} == {A, B})
        await one.submit(task_id=C)
        two.succeed(next(iter(two.workers.running)))
        await until(lambda: C in two.workers.running)


async def test_a_full_queue_is_full_on_every_node(tmp_path: Path, way: Way) -> None:
    async with two_nodes(tmp_path, (way[0], DEAF), capacity=Capacity(tasks_max=3)) as (front, back):
        for task_id in (A, B, C):
            await front.submit(task_id=task_id)

        def is_full() -> bool:
            try:
                with back.engine.admit("noop"):
                    return False
            except QueueFull:
                return True

        await until(is_full)


async def test_a_node_whose_lease_was_lost_stops_the_attempt_and_its_result_changes_nothing(tmp_path: Path) -> None:
    together = Together()
    async with (
        kit(tmp_path / "1", CATALOG, together=together, node="lost", timing=BEATING) as lost,
        kit(tmp_path / "2", CATALOG, together=together, node="next", timing=DEAF, places=0) as other,
    ):
        lost.workers.cancels_at_once = False
        await lost.submit(task_id=A)
        await until(lambda: A in lost.workers.running)
        other.workers.places = 1
        together.clock.at += 31.0  # it did not renew: as if it stood still for a while
        await until(lambda: A in other.workers.running)
        await lost.engine.renew()
        assert lost.workers.canceled == [A]
        lost.workers.end(A, Succeeded(json=b'"late"'))
        await until(lambda: lost.engine.stats.stale_results == 1)
        other.succeed(A, b'"right"')
        await until_async(lambda: _is(lost, A, Status.DONE))
        task = await lost.get(A)
        assert (task.result, task.attempt) == (b'"right"', 2)


async def test_a_task_that_comes_back_to_the_node_that_lost_it_is_a_new_attempt(tmp_path: Path) -> None:
    together = Together()
    async with (
        kit(tmp_path / "1", CATALOG, together=together, node="lost", timing=SLOW, places=2) as lost,
        kit(tmp_path / "2", CATALOG, together=together, node="other", timing=DEAF, runs=()) as _,
    ):
        lost.workers.cancels_at_once = False
        await lost.submit(task_id=A)
        await until(lambda: A in lost.workers.running)
        late = lost.workers.running.pop(A)  # goes on while the next attempt begins
        together.clock.at += 31.0
        await until(lambda: A in lost.workers.running)  # rung by the node that gave it back
        assert lost.workers.canceled == [A]
        assert lost.workers.listener is not None
        lost.workers.listener.ended(late, Succeeded(json=b'"late"'), ())
        await until(lambda: lost.engine.stats.stale_results == 1)
        assert (await lost.get(A)).status is Status.RUNNING
        lost.succeed(A, b'"right"')
        await until_async(lambda: _is(lost, A, Status.DONE))
        assert (await lost.get(A)).result == b'"right"'


class GoneStore:
    """A store that cannot be reached while it is said to be gone."""

    def __init__(self, memory: MemoryStore) -> None:
        self._memory = memory
        self.is_gone = False
        self.refused = 0

    def __getattr__(self, name: str) -> object:
        if self.is_gone:
            self.refused += 1
            raise StoreUnavailable("gone", retry_seconds=1)
        return getattr(self._memory, name)


async def test_after_the_store_was_gone_for_long_nodes_may_renew_before_they_are_judged(tmp_path: Path) -> None:
    together = Together()
    stores: list[GoneStore] = []

    def gone(memory: MemoryStore) -> GoneStore:
        stores.append(GoneStore(memory))
        return stores[-1]

    timing = Timing(sweep_seconds=0.02, heartbeat_seconds=0.2, count_seconds=0.02, look_seconds=0.02)
    async with (
        kit(tmp_path / "1", CATALOG, together=together, node="one", timing=timing, wrap_store=gone) as one,  # type: ignore[arg-type]
        kit(tmp_path / "2", CATALOG, together=together, node="two", timing=timing, wrap_store=gone, runs=()) as two,  # type: ignore[arg-type]
    ):
        await one.submit(task_id=A)
        await until(lambda: A in one.workers.running)
        for store in stores:
            store.is_gone = True
        await until(lambda: two.engine.health().checks["store"] != "ok")
        together.clock.at += 100.0
        refused = stores[1].refused
        await until(lambda: stores[1].refused > refused + 10)
        for store in stores:
            store.is_gone = False
        await until(lambda: two.engine.health().checks["store"] == "ok")
        one.succeed(A)
        await until_async(lambda: _is(two, A, Status.DONE))
        assert (await two.get(A)).attempt == 1


async def test_nodes_know_each_other_and_one_without_workers_is_ready_while_another_works(tmp_path: Path) -> None:
    together = Together()
    async with kit(tmp_path / "1", CATALOG, together=together, node="front", timing=DEAF, runs=()) as front:
        assert not front.engine.health().ready
        async with kit(tmp_path / "2", CATALOG, together=together, node="back", timing=DEAF) as back:
            await until(lambda: front.engine.health().ready)
            await back.submit(task_id=A)
            nodes = {node.name: node for node in await front.engine.roll.all()}
            assert (nodes["front"].workers, nodes["front"].jobs) == (0, ())
            assert (nodes["back"].workers, nodes["back"].jobs, nodes["back"].queues) == (1, ("noop",), ("default",))
            assert front.engine.roll.is_first() != back.engine.roll.is_first()
        assert [node.name for node in await front.engine.roll.all()] == ["front"]
        await until(lambda: not front.engine.health().ready)


async def test_nodes_whose_files_are_not_the_same_say_so(tmp_path: Path) -> None:
    together = Together()
    async with kit(tmp_path / "1", CATALOG, together=together, node="one", timing=DEAF, files_at="s3://a") as one:
        assert "files" not in one.engine.health().checks
        async with kit(tmp_path / "2", CATALOG, together=together, node="two", timing=DEAF, files_at="s3://b") as two:
            await until(lambda: "node two has its files elsewhere" in one.engine.health().checks.get("files", ""))
            assert not two.engine.health().ready
        await until(lambda: one.engine.health().ready)


async def test_a_node_that_works_for_others_tells_them_how_fast_it_is(tmp_path: Path) -> None:
    together = Together()
    async with (
        kit(tmp_path / "1", CATALOG, together=together, node="front", timing=DEAF, runs=()) as front,
        kit(tmp_path / "2", CATALOG, together=together, node="back", timing=DEAF) as back,
    ):
        for task_id in (A, B, C):
            await front.submit(task_id=task_id)
            await until(lambda task_id=task_id: task_id in back.workers.running)  # type: ignore[misc]
            together.clock.at += 2.0
            back.succeed(task_id)
        traffic = front.engine.parts.traffic
        await until(lambda: traffic.mean_run_seconds("noop") is not None)
        await until(lambda: bool(traffic.drain_per_second("default")))  # one task alone says nothing of this
        (queue,) = await front.engine.queues()
        assert queue.completions_per_second


async def _is(it: Kit, task_id: str, status: Status) -> bool:
    return (await it.get(task_id)).status is status


async def _is_to_stop(it: Kit, task_id: str) -> bool:
    task = await it.get(task_id)
    return task.cancel_requested or task.final


async def _state(it: Kit, state: str) -> bool:
    (queue,) = await it.engine.queues()
    return queue.state == state


async def test_a_key_that_one_node_makes_or_revokes_is_known_to_the_others_at_once(tmp_path: Path) -> None:
    together = Together()
    async with (
        kit(tmp_path / "1", CATALOG, together=together, node="one", timing=SLOW) as one,
        kit(tmp_path / "2", CATALOG, together=together, node="two", timing=SLOW) as two,
    ):
        rings = [Keyring(together.memory.keys, together.clock, it.engine.parts.ringer) for it in (one, two)]
        for it, ring in zip((one, two), rings, strict=True):
            it.engine.neighbours.on({KEYS: ring.load})
        made = await rings[0].create(Wish(owner="acme", scopes=(KeyScope.READ,)))
        await until(lambda: rings[1].locked and rings[1].find(made.token.encode()) is not None)
        await rings[0].revoke(made.key.id)
        await until(lambda: _revoked(rings[1], made.token))


def _revoked(keyring: Keyring, token: str) -> bool:
    holder = keyring.find(token.encode())
    return holder is not None and holder.key.revoked_at is not None
