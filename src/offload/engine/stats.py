"""Plain counters of what the engine did; read by metrics, never by decisions."""

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field

BOUNDS_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)


class Spread:
    """How durations are spread: how many were up to each bound, and their sum."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_SECONDS) + 1)
        """By the first bound that is not below; the last is of all that is longer."""
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.sum += seconds


@dataclass(slots=True)
class Stats:
    """Counts since the node started. Keys are job, queue, status, reason and code: all bounded."""

    submitted: Counter[str] = field(default_factory=Counter)
    """By job."""
    finished: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By job, status and reason (empty when none)."""
    attempts: Counter[str] = field(default_factory=Counter)
    """By job."""
    retries: Counter[str] = field(default_factory=Counter)
    """By job."""
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By queue and code."""
    callbacks: Counter[str] = field(default_factory=Counter)
    """By outcome of a try: delivered, failed (and tried again), given_up, superseded, released."""
    tokens: Counter[str] = field(default_factory=Counter)
    """By what became of them: announced, dropped, taken, released, missed, posted, returned, and restarts."""
    carried: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Tries to fetch an input file or to push a result, by `fetch` or `push` and done, failed or refused."""
    carried_bytes: Counter[str] = field(default_factory=Counter)
    """Of those that were done, by `fetch` or `push`."""
    run_seconds: defaultdict[str, Spread] = field(default_factory=lambda: defaultdict(Spread))
    """Of ended attempts, by job."""
    wait_seconds: defaultdict[str, Spread] = field(default_factory=lambda: defaultdict(Spread))
    """Of claimed tasks, the time since they were due, by job."""
    schedules_fired: Counter[str] = field(default_factory=Counter)
    """Due times that made a task, by job."""
    schedules_missed: Counter[str] = field(default_factory=Counter)
    """Due times that made none, because they had passed, by job."""
    schedules_late_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Sum over the due times that made a task of how late it was, by job."""
    schedules_held_up: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Due times that had to wait for room, by job and code; each try counts."""
    leases_ended: Counter[str] = field(default_factory=Counter)
    """Attempts elsewhere that were taken back, because no sign of life came or their time was over; by job."""
    worker_deaths: int = 0
    stale_results: int = 0
    """Results refused because their task had moved on."""
    store_retries: int = 0
    """Writes of the engine repeated because the store could not take them."""
    purged_payloads: int = 0
    purged_rows: int = 0

    @property
    def changes(self) -> int:
        """Return a number that grows with whatever a list of tasks would show."""
        counted = (self.submitted, self.finished, self.attempts, self.retries)
        return sum(counter.total() for counter in counted) + self.purged_payloads + self.purged_rows

    def brought(self, way: str, outcome: str, size: int = 0) -> None:
        """Count a try to fetch an input file or to push a result."""
        self.carried[way, outcome] += 1
        self.carried_bytes[way] += size
