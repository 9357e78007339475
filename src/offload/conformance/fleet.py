"""Several nodes of one store and one broker in this process, with workers that take note of every run."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from offload.bells import LocalBell
from offload.blobs.local import LocalBlobs
from offload.clock import SteadyClock
from offload.core.admission import Capacity
from offload.core.catalog import Catalog
from offload.core.job import job
from offload.core.outcome import Succeeded, Unrun
from offload.core.task import ALL, Status, Task
from offload.egress import Door
from offload.engine.engine import Engine
from offload.engine.gate import Gate
from offload.engine.hub import Hub
from offload.engine.orders import Order
from offload.engine.parts import Parts, Timing
from offload.engine.ringer import Ringer
from offload.engine.stats import Stats
from offload.engine.traffic import Traffic
from offload.ports import Ask, Listener, Room, Work, WorkerState
from offload.ports.broker import Broker
from offload.ports.store import Store
from offload.stores.memory_nodes import MemoryNodes


@job
def small() -> int:
    return 1


@job(queue="other")
def large() -> int:
    return 1


CATALOG = Catalog.of_jobs(small, large)
NEVER = 3_600.0


@dataclass
class Workers:
    """Runs what it is given for a moment, and takes note."""

    places: int
    runs: list[str]
    """Ids in the order in which they were started, of all nodes together."""
    run_seconds: float = 0.005
    running: dict[str, Task] = field(default_factory=dict)
    listener: Listener | None = None

    async def start(self, listener: Listener) -> None:
        self.listener = listener

    def jobs(self) -> list[str]:
        return list(CATALOG.jobs) if self.places else []

    def rooms(self) -> list[Room]:
        if not self.places:
            return []
        return [Room(lane="shared", jobs=tuple(CATALOG.jobs), places=self.places - len(self.running))]

    def run(self, work: Work) -> None:
        assert len(self.running) < self.places
        self.running[work.task.id] = work.task
        self.runs.append(work.task.id)
        asyncio.get_running_loop().call_later(self.run_seconds, self._end, work.task)

    def end(self) -> None:
        """End all that runs, before its time."""
        for task in list(self.running.values()):
            self._end(task)

    def cancel(self, task: Task) -> None:
        raise AssertionError("nothing is canceled here")

    def workers(self) -> list[WorkerState]:
        return [WorkerState(pid=1, lane="shared", tasks=(), busy_seconds=0.0, memory_bytes=0, tasks_done=0)]

    async def stop(self, *, grace_seconds: float) -> None:
        assert self.listener is not None
        for task in list(self.running.values()):
            del self.running[task.id]
            self.listener.ended(task, Unrun(), ())

    def _end(self, task: Task) -> None:
        assert self.listener is not None
        if self.running.pop(task.id, None) is not None:
            self.listener.ended(task, Succeeded(json=b"1"), ())
            self.listener.room_freed()


class CountingStore:
    """A store that counts how often it is asked for tasks."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.claims = 0
        self.empty_claims = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def claim(self, asks: Sequence[Ask], *, node: str, now: float, lease_until: float) -> list[Task]:
        claimed = await self._store.claim(asks, node=node, now=now, lease_until=lease_until)
        self.claims += 1
        self.empty_claims += not claimed
        return claimed


@dataclass
class Fleet:
    """The first node accepts and has no workers; the others have workers."""

    engines: list[Engine]
    workers: list[Workers]
    runs: list[str]
    store: Store
    counted: CountingStore

    async def submit(self, number: int = 1, *, job: str = "small", **options: object) -> list[str]:
        front = self.engines[0]
        ids = []
        for _ in range(number):
            with front.admit(job) as place:
                order = Order(id=str(uuid.uuid4()), job=job, **options)  # type: ignore[arg-type]
                ids.append((await front.create(order, place)).task.id)
        return ids

    async def done(self, ids: Sequence[str], *, seconds: float = 30.0) -> None:
        """Return when all are DONE; fail when one is not in time."""
        left = set(ids)
        async with asyncio.timeout(seconds):
            while left:
                for task_id in list(left):
                    task = await self.store.get(ALL, task_id)
                    assert task is not None, f"task {task_id} is lost"
                    if task.status is Status.DONE:
                        left.discard(task_id)
                await asyncio.sleep(0.005)

    def tokens(self, what: str) -> int:
        return sum(engine.stats.tokens[what] for engine in self.engines)

    def ran_once(self, ids: Sequence[str]) -> bool:
        counts = Counter(self.runs)
        return all(counts[task_id] == 1 for task_id in ids)


MakeBroker = Callable[[str], Broker | None]


@asynccontextmanager
async def fleet(
    root: Path,
    store: Store,
    make_broker: MakeBroker,
    *,
    places: Sequence[int] = (0, 2, 2),
    timing: Timing | None = None,
    run_seconds: float = 0.005,
) -> AsyncIterator[Fleet]:
    """Start one node for each number of places; leaving stops them."""
    runs: list[str] = []
    counted = CountingStore(store)
    engines: list[Engine] = []
    all_workers: list[Workers] = []
    timing = timing or Timing(sweep_seconds=NEVER, heartbeat_seconds=1.0)
    async with AsyncExitStack() as stack:
        for number, some in enumerate(places):
            broker = make_broker(f"node-{number}")
            if broker is not None:
                await broker.start()
                stack.push_async_callback(broker.stop)
            workers = Workers(places=some, runs=runs, run_seconds=run_seconds)
            engine = await _engine(root, counted, workers, timing=timing, broker=broker, name=f"node-{number}")
            stack.push_async_callback(engine.stop, 0.0)
            engines.append(engine)
            all_workers.append(workers)
        yield Fleet(engines=engines, workers=all_workers, runs=runs, store=store, counted=counted)


async def _engine(
    root: Path, counted: CountingStore, workers: Workers, *, timing: Timing, broker: Broker | None, name: str
) -> Engine:
    clock = SteadyClock()
    blobs = LocalBlobs(root / "blobs")
    await blobs.start()
    traffic = Traffic({queue: Capacity() for queue in CATALOG.queues}, clock)
    ringer = Ringer(LocalBell())  # deaf to the others: here the broker is all they have
    store: Store = counted  # type: ignore[assignment]
    parts = Parts(
        node=name,
        version="0",
        nodes=MemoryNodes(),
        catalog=CATALOG,
        store=store,
        queues=store,
        files=store,
        deliveries=store.deliveries,
        history=store.history,
        schedules=store.schedules,
        blobs=blobs,
        workers=workers,
        egress=Door(),
        clock=clock,
        timing=timing,
        traffic=traffic,
        ringer=ringer,
        hub=Hub(store, ringer),
        stats=Stats(),
        chance=lambda: 0.5,
        broker=broker,
    )
    engine = Engine(parts, Gate(traffic, blobs, disk_free_min_bytes=0), clock)
    await engine.start()
    return engine


def swift(timing: Timing | None = None, **seconds: float) -> Timing:
    """Return intervals for a test."""
    return msgspec.structs.replace(timing or Timing(sweep_seconds=1.0, heartbeat_seconds=1.0), **seconds)


async def connected(nodes: Fleet) -> None:
    """Return when the broker serves all: a first task shows it."""
    await nodes.done(await nodes.submit())
    async with asyncio.timeout(20):
        while any((state := engine.broker()) is not None and state.trouble for engine in nodes.engines):
            await asyncio.sleep(0.01)
