"""An engine to test with: the memory store, a clock that is set by hand, and workers that do what the test says."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from offload.bells import LocalBell, Tower
from offload.blobs.local import LocalBlobs
from offload.core.admission import Capacity
from offload.core.catalog import Catalog
from offload.core.outcome import Outcome, Stopped, Succeeded, Unrun
from offload.core.task import ALL, Scope, Task, TaskEvent
from offload.egress import Door
from offload.engine.engine import Engine
from offload.engine.gate import Gate
from offload.engine.hub import Hub
from offload.engine.orders import Order
from offload.engine.parts import Fetching, Parts, Timing, Uploading
from offload.engine.ringer import Ringer
from offload.engine.stats import Stats
from offload.engine.traffic import Traffic
from offload.ports import Blobs, Listener, Note, Room, TaskStore, Work, WorkerState
from offload.ports.bell import Bell
from offload.ports.broker import Broker
from offload.ports.schedules import ScheduleStore
from offload.ports.tracing import Tracer
from offload.stores.memory import MemoryStore
from offload.stores.memory_nodes import MemoryNodes
from offload.stores.memory_schedules import MemorySchedules

START = 1_800_000_000.0
T = TypeVar("T")


class HandClock:
    """A clock that stands still until it is set on."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at - START

    def follow(self) -> float:
        return 0.0

    def learn(self, ahead: float, unsure: float) -> None:
        pass


@dataclass
class HandWorkers:
    """Takes work and holds it until the test says how it ended."""

    runs: tuple[str, ...]
    places: int = 1
    cancels_at_once: bool = True
    running: dict[str, Task] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    handed: dict[str, Work] = field(default_factory=dict)
    canceled: list[str] = field(default_factory=list)
    late: list[Task] = field(default_factory=list)
    """Attempts that go on although their task came here anew: they lost their lease."""
    listener: Listener | None = None

    async def start(self, listener: Listener) -> None:
        self.listener = listener

    def jobs(self) -> list[str]:
        return list(self.runs)

    def rooms(self) -> list[Room]:
        return [Room(lane="shared", jobs=self.runs, places=self.places - len(self.running))] if self.runs else []

    def run(self, work: Work) -> None:
        assert len(self.running) < self.places
        if work.task.id in self.running:
            self.late.append(self.running[work.task.id])
        self.running[work.task.id] = work.task
        self.handed[work.task.id] = work
        self.started.append(work.task.id)

    def cancel(self, task: Task) -> None:
        self.canceled.append(task.id)
        if self.cancels_at_once and task.id in self.running:
            self.end(task.id, Stopped())

    def end(self, task_id: str, outcome: Outcome, last_words: tuple[TaskEvent, ...] = ()) -> None:
        assert self.listener is not None
        task = self.running.pop(task_id)
        self.listener.ended(task, outcome, last_words)
        self.listener.room_freed()

    def end_late(self, outcome: Outcome) -> None:
        """End the attempt that has been late for longest."""
        assert self.listener is not None
        self.listener.ended(self.late.pop(0), outcome, ())

    def note(self, note: Note) -> None:
        assert self.listener is not None
        self.listener.noted(note)

    def workers(self) -> list[WorkerState]:
        one = WorkerState(pid=1, lane="shared", tasks=(), busy_seconds=0.0, memory_bytes=0, tasks_done=0)
        return [one] if self.runs else []

    async def stop(self, *, grace_seconds: float) -> None:
        while self.late:
            self.end_late(Unrun())
        for task_id in list(self.running):
            self.end(task_id, Unrun())


@dataclass
class Together:
    """What the nodes of one store share."""

    memory: MemoryStore = field(default_factory=MemoryStore)
    clock: HandClock = field(default_factory=HandClock)
    nodes: MemoryNodes = field(default_factory=MemoryNodes)
    tower: Tower = field(default_factory=Tower)

    def bell(self) -> Bell:
        return self.tower.bell()


class Wrapped(Generic[T]):
    """Puts a test's own store, or blobs, around those of a kit, and keeps it as `made`."""

    made: T

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make

    def __call__(self, inner: object) -> Any:
        self.made = self._make(inner)
        return self.made


@dataclass
class Kit:
    engine: Engine
    store: TaskStore
    workers: HandWorkers
    clock: HandClock

    async def submit(self, job: str = "noop", *, task_id: str, **options: object) -> Task:
        with self.engine.admit(job) as place:
            order = Order(id=task_id, job=job, **options)  # type: ignore[arg-type]
            return (await self.engine.create(order, place)).task

    async def get(self, task_id: str, scope: Scope = ALL) -> Task:
        return await self.engine.get(scope, task_id)

    def succeed(self, task_id: str, json: bytes = b"1") -> None:
        self.workers.end(task_id, Succeeded(json=json))


@asynccontextmanager
async def kit(
    root: Path,
    catalog: Catalog,
    *,
    places: int = 1,
    capacity: Capacity | None = None,
    timing: Timing | None = None,
    wrap_store: Callable[[MemoryStore], TaskStore] | None = None,
    wrap_schedules: Callable[[MemorySchedules], ScheduleStore] | None = None,
    wrap_blobs: Callable[[LocalBlobs], Blobs] | None = None,
    fetching: Fetching | None = None,
    uploading: Uploading | None = None,
    tracer: Tracer | None = None,
    broker: Broker | None = None,
    together: Together | None = None,
    node: str = "node-1",
    runs: Sequence[str] | None = None,
    files_at: str = "",
) -> AsyncIterator[Kit]:
    """Start an engine, alone or `together` with others, which `runs` all jobs or some; leaving stops it."""
    shared = together or Together()
    clock, memory = shared.clock, shared.memory
    ringer = Ringer(LocalBell() if together is None else together.bell())
    store: TaskStore = memory if wrap_store is None else wrap_store(memory)
    blobs = await _started_blobs(root / "blobs", wrap_blobs)
    traffic = Traffic({queue: capacity or Capacity() for queue in catalog.queues}, clock)
    workers = HandWorkers(runs=tuple(catalog.jobs if runs is None else runs), places=places)
    parts = Parts(
        node=node,
        version="0",
        catalog=catalog,
        store=store,
        queues=memory,
        files=memory,
        deliveries=memory.deliveries,
        nodes=shared.nodes,
        history=memory.history,
        schedules=memory.schedules if wrap_schedules is None else wrap_schedules(memory.schedules),
        blobs=blobs,
        workers=workers,
        egress=Door(allow=["127.0.0.0/8"]),
        clock=clock,
        timing=timing or Timing(sweep_seconds=0.02, heartbeat_seconds=0.02, stop_seconds=2.0),
        traffic=traffic,
        hub=Hub(store, ringer),
        ringer=ringer,
        stats=Stats(),
        tracer=tracer,
        chance=lambda: 0.5,
        fetching=fetching or Fetching(),
        uploading=uploading or Uploading(),
        files_at=files_at,
        broker=broker,
    )
    await (engine := Engine(parts, Gate(traffic, blobs, disk_free_min_bytes=0), clock)).start()
    try:
        yield Kit(engine=engine, store=store, workers=workers, clock=clock)
    finally:
        await engine.stop(0.0)


async def _started_blobs(root: Path, wrap: Callable[[LocalBlobs], Blobs] | None) -> Blobs:
    local = LocalBlobs(root)
    await local.start()
    return local if wrap is None else wrap(local)
