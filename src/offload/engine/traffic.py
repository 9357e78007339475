"""What each queue holds, how fast it moves, and whether one more task may come in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from offload.core.admission import SAMPLES_MIN, Capacity, Load, RateMeter, admit
from offload.core.task import Record, Seconds, Status, Task
from offload.ports import Clock, Depth

RUN_WEIGHT = 0.1
"""How much the newest run counts in a job's mean run time."""
DISBELIEVED_MAX = 100
"""How often in a row the store's count of what a queue holds is passed over by the only node that moves it."""
UNSEEN_SHARE = 8
"""The queues are counted again when a node let in one part in so many of the room that was left."""


@dataclass(slots=True)
class _Queue:
    capacity: Capacity
    tasks: int = 0
    bytes: int = 0
    coming_tasks: int = 0
    coming_bytes: int = 0
    unseen: int = 0
    """Tasks let in since the last count: other nodes do not know of them, nor this one of theirs."""
    queued: int = 0
    """What waits; below zero while a claim was told before what put its task into the queue: a store may do both in one
    turn, and answers in any order."""
    ready: int = 0
    running: int = 0
    moves: int = 0
    """Grows with whatever comes, goes or begins."""
    disbelieved: int = 0
    oldest_at: Seconds | None = None
    arrivals: RateMeter = field(default_factory=RateMeter)
    completions: RateMeter = field(default_factory=RateMeter)
    arrivals_elsewhere: float = 0.0
    completions_elsewhere: float = 0.0


class Place:
    """A reserved place in a queue; leaving it unsettled gives it back."""

    __slots__ = ("_bytes", "_queue", "_tasks")

    def __init__(self, queue: _Queue, tasks: int, body_bytes: int) -> None:
        self._queue, self._tasks, self._bytes = queue, tasks, body_bytes
        queue.coming_tasks += tasks
        queue.coming_bytes += body_bytes

    def settle(self) -> None:
        """Give the reservation back: the tasks are counted in the queue now, or will never come."""
        self._queue.coming_tasks -= self._tasks
        self._queue.coming_bytes -= self._bytes
        self._tasks = self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle()


class QueueView(Record, frozen=True, kw_only=True):
    """A queue as people see it."""

    name: str
    tasks: int
    queued: int
    ready: int
    running: int
    bytes: int
    tasks_max: int
    bytes_max: int
    oldest_wait_seconds: Seconds | None
    arrivals_per_second: float | None
    completions_per_second: float | None
    predicted_wait_seconds: Seconds | None
    state: str
    jobs: tuple[str, ...]


class Traffic:
    """Counts what this node sees come and go; `sync` puts the store's own numbers in their place."""

    def __init__(self, capacities: Mapping[str, Capacity], clock: Clock) -> None:
        self._queues = {name: _Queue(capacity) for name, capacity in capacities.items()}
        self._run_seconds: dict[str, Seconds] = {}
        self._run_seconds_elsewhere: dict[str, Seconds] = {}
        self._clock = clock
        self._writes = 0
        self.filling: Callable[[], None] = _nobody_asks
        """Called when so much was let in that the queues had better be counted: others may have filled them too."""

    def admit(self, queue: str, *, tasks: int, body_bytes: int) -> Place:
        """Reserve a place. Raise QueueFull."""
        entry = self._queues[queue]
        admit(queue, self._load(entry), entry.capacity, tasks=tasks, body_bytes=body_bytes)
        entry.unseen += tasks
        if entry.unseen * UNSEEN_SHARE > entry.capacity.tasks_max - entry.tasks:
            self.filling()
        return Place(entry, tasks, body_bytes)

    def no_place(self) -> Place:
        """Return a place in no queue."""
        return Place(_Queue(Capacity()), 0, 0)

    @contextmanager
    def moving(self) -> Iterator[None]:
        """Hold this from before the store is asked to change what a queue holds until the change is counted here."""
        self._writes += 1
        try:
            yield
        finally:
            self._writes -= 1

    def came(self, task: Task) -> None:
        """A task entered its queue: submitted, run or revived."""
        entry = self._moved(task.queue)
        entry.tasks += 1
        entry.queued += 1
        entry.bytes += task.input_bytes
        entry.arrivals.add(self._clock.monotonic())

    def grew(self, queue: str, grown_bytes: int) -> None:
        """Files that a queued or running task named by URL are here: it holds so much more."""
        self._moved(queue).bytes += grown_bytes

    def left(self, task: Task) -> None:
        """A task left its queue for good; `task` is as it was before."""
        entry = self._moved(task.queue)
        entry.tasks = max(0, entry.tasks - 1)
        entry.bytes = max(0, entry.bytes - task.input_bytes)
        if task.status is Status.QUEUED:
            entry.queued -= 1
        else:
            entry.running -= 1
            entry.completions.add(self._clock.monotonic())

    def claimed(self, task: Task) -> None:
        entry = self._moved(task.queue)
        entry.queued, entry.running = entry.queued - 1, entry.running + 1

    def returned(self, task: Task) -> None:
        """A task went back from RUNNING to its queue."""
        entry = self._moved(task.queue)
        entry.queued, entry.running = entry.queued + 1, entry.running - 1

    def ran(self, job: str, seconds: Seconds) -> None:
        mean = self._run_seconds.get(job)
        self._run_seconds[job] = seconds if mean is None else mean + RUN_WEIGHT * (seconds - mean)

    def mean_run_seconds(self, job: str) -> Seconds | None:
        return self._run_seconds.get(job, self._run_seconds_elsewhere.get(job))

    def own_run_seconds(self) -> dict[str, Seconds]:
        """Return how long attempts of each job took on this node."""
        return dict(self._run_seconds)

    def own_rates(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return how many tasks a second came and ended on this node, by queue."""
        at = self._clock.monotonic()
        came = {name: entry.arrivals.per_second(at) for name, entry in self._queues.items()}
        ended = {name: entry.completions.per_second(at) for name, entry in self._queues.items()}
        return {name: rate for name, rate in came.items() if rate}, {name: rate for name, rate in ended.items() if rate}

    def learn(
        self,
        *,
        arrivals: Sequence[Mapping[str, float]],
        completions: Sequence[Mapping[str, float]],
        run_seconds: Sequence[Mapping[str, Seconds]],
    ) -> None:
        """Hear how fast the other nodes are."""
        for name, entry in self._queues.items():
            entry.arrivals_elsewhere = sum(rates.get(name, 0.0) for rates in arrivals)
            entry.completions_elsewhere = sum(rates.get(name, 0.0) for rates in completions)
        for seconds in run_seconds:
            self._run_seconds_elsewhere.update(seconds)

    def drain_per_second(self, queue: str) -> float | None:
        return self._load(self._entry(queue)).drain_per_second

    def depth(self, queue: str) -> Depth:
        """Return what waits and runs, as this node knows it."""
        entry = self._entry(queue)
        return Depth(queue=queue, job="", queued=max(0, entry.queued), running=max(0, entry.running))

    def waiting(self, queue: str) -> int:
        return self.depth(queue).queued

    def moves(self) -> dict[str, int]:
        """Return how often each queue moved: for `sync`, and to be asked for before the store is asked to count."""
        return {name: entry.moves for name, entry in self._queues.items()}

    def sync(self, depths: Sequence[Depth], *, since: Mapping[str, int] | None = None) -> None:
        """Take the store's counts: they include what other nodes did.

        A count of what moves meanwhile may have it twice or not at all, and a queue would be full too early. A node
        that is alone has counted every move itself: it says `since` which of its moves the store was asked, and
        believes it when there was none after that and none is under way. Several may ask at once.
        """
        counted = {name: _Queue(entry.capacity) for name, entry in self._queues.items()}
        for depth in depths:
            total = counted.setdefault(depth.queue, _Queue(Capacity()))
            total.tasks += depth.queued + depth.running
            total.queued += depth.queued
            total.ready += depth.ready
            total.running += depth.running
            total.bytes += depth.bytes
            if depth.oldest_at is not None:
                total.oldest_at = min(depth.oldest_at, total.oldest_at or depth.oldest_at)
        for name, total in counted.items():
            entry = self._entry(name)
            entry.ready, entry.oldest_at, entry.unseen = total.ready, total.oldest_at, 0
            if since is not None and entry.disbelieved < DISBELIEVED_MAX:
                if entry.moves != since.get(name, 0) or entry.coming_tasks > 0 or self._writes > 0:
                    entry.disbelieved += 1
                    continue
            entry.disbelieved, entry.tasks, entry.bytes = 0, total.tasks, total.bytes
            entry.queued, entry.running = total.queued, total.running

    def view(self, queue: str, *, paused: bool, jobs: tuple[str, ...]) -> QueueView:
        entry, held, at = self._queues[queue], self.depth(queue), self._clock.monotonic()
        load = self._load(entry)
        full = entry.tasks >= entry.capacity.tasks_max or entry.bytes >= entry.capacity.bytes_max
        drain = load.drain_per_second
        oldest = entry.oldest_at
        return QueueView(
            name=queue,
            tasks=entry.tasks,
            queued=held.queued,
            ready=entry.ready,
            running=held.running,
            bytes=entry.bytes,
            tasks_max=entry.capacity.tasks_max,
            bytes_max=entry.capacity.bytes_max,
            oldest_wait_seconds=None if oldest is None else max(0.0, self._clock.now() - oldest),
            arrivals_per_second=_sum(entry.arrivals.per_second(at), entry.arrivals_elsewhere),
            completions_per_second=_sum(entry.completions.per_second(at), entry.completions_elsewhere),
            predicted_wait_seconds=entry.ready / drain if drain else (0.0 if entry.ready == 0 else None),
            state="paused" if paused else "full" if full else "accepting",
            jobs=jobs,
        )

    def _load(self, entry: _Queue) -> Load:
        own = entry.completions.per_second(self._clock.monotonic(), samples_min=SAMPLES_MIN)
        drain = _sum(own, entry.completions_elsewhere)
        return Load(
            tasks=entry.tasks + entry.coming_tasks, bytes=entry.bytes + entry.coming_bytes, drain_per_second=drain
        )

    def _moved(self, queue: str) -> _Queue:
        entry = self._entry(queue)
        entry.moves += 1
        return entry

    def _entry(self, queue: str) -> _Queue:
        entry = self._queues.get(queue)
        if entry is None:  # a queue of earlier days: its jobs are gone from the catalog, its tasks are not
            entry = self._queues[queue] = _Queue(Capacity())
        return entry


def _sum(own: float | None, elsewhere: float) -> float | None:
    """Add the rates of this node and of all others; None when nobody knows any."""
    return (own or 0.0) + elsewhere if own is not None or elsewhere else None


def _nobody_asks() -> None:
    """A node that has its store for itself counts all there is to count."""
