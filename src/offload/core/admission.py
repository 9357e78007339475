"""Back pressure: may one more task come in, and how long would it take?"""

import math
from dataclasses import dataclass, field

from offload.core.errors import QueueFull
from offload.core.task import Record, Seconds

SAMPLES_MIN = 5
"""Fewer completions than this are no honest estimate."""


class Capacity(Record, frozen=True, kw_only=True):
    """How much one queue may hold, waiting and running together."""

    tasks_max: int = 10_000
    bytes_max: int = 4 * 1024**3
    wait_seconds_max: Seconds | None = None
    """Refuse when the predicted wait is longer; None: whatever the wait."""


class Load(Record, frozen=True, kw_only=True):
    """What one queue holds now, tasks on their way in included."""

    tasks: int
    bytes: int
    drain_per_second: float | None = None
    """Tasks finished per second of late; None without enough samples."""


@dataclass(slots=True)
class RateMeter:
    """Events per second over the last minute, in buckets of a second; bounded whatever the load."""

    window_seconds: int = 60
    _counts: dict[int, int] = field(default_factory=dict)
    _first_at: Seconds | None = None

    def add(self, at: Seconds, count: int = 1) -> None:
        if self._first_at is None:
            self._first_at = at
        second = int(at)
        self._counts[second] = self._counts.get(second, 0) + count
        if len(self._counts) > self.window_seconds + 1:
            self._drop(at)

    def per_second(self, at: Seconds, *, samples_min: int = 1) -> float | None:
        """Return the rate, None when fewer than `samples_min` events were seen in the window."""
        self._drop(at)
        total = sum(self._counts.values())
        if self._first_at is None or total < samples_min:
            return None
        seen_seconds = min(max(at - self._first_at, 1.0), float(self.window_seconds))
        return total / seen_seconds

    def _drop(self, at: Seconds) -> None:
        oldest = int(at) - self.window_seconds
        for second in [s for s in self._counts if s <= oldest]:
            del self._counts[second]
        if not self._counts:
            self._first_at = None


def admit(queue: str, load: Load, capacity: Capacity, *, tasks: int = 1, body_bytes: int = 0) -> None:
    """Raise QueueFull when the queue cannot take this much more."""
    if load.tasks + tasks > capacity.tasks_max:
        over = load.tasks + tasks - capacity.tasks_max
        raise QueueFull(
            f"queue {queue!r} holds {load.tasks:,} of at most {capacity.tasks_max:,} tasks",
            retry_seconds=seconds_until_room(over, load), limit=capacity.tasks_max)  # fmt: skip
    if load.bytes + body_bytes > capacity.bytes_max:
        share = load.bytes / load.tasks if load.tasks else capacity.bytes_max
        over = math.ceil((load.bytes + body_bytes - capacity.bytes_max) / max(share, 1.0))
        raise QueueFull(
            f"queue {queue!r} holds {load.bytes:,} of at most {capacity.bytes_max:,} bytes",
            retry_seconds=seconds_until_room(over, load), limit=capacity.bytes_max)  # fmt: skip
    wait = eta_seconds(load.tasks, load.drain_per_second)
    if capacity.wait_seconds_max is not None and wait is not None and wait > capacity.wait_seconds_max:
        raise QueueFull(
            f"queue {queue!r} would make this task wait about {wait:.0f} s, more than {capacity.wait_seconds_max:g} s",
            retry_seconds=max(1, math.ceil(wait - capacity.wait_seconds_max)))  # fmt: skip


def seconds_until_room(over: int, load: Load) -> int | None:
    """Return how long until `over` tasks have left, None when nobody can say."""
    if not load.drain_per_second:
        return None
    return max(1, min(math.ceil(over / load.drain_per_second), 3600))


def eta_seconds(ahead: int, drain_per_second: float | None) -> Seconds | None:
    """Return how long `ahead` tasks take to finish at this rate, None when it is unknown."""
    if not drain_per_second:
        return None
    return ahead / drain_per_second


def poll_seconds(eta: Seconds | None, waited: Seconds) -> int:
    """Return when to ask again about an unfinished task, 1 to 30 s: near its end if known, else ever more rarely."""
    hint = eta if eta is not None else waited / 2
    return max(1, min(math.ceil(hint), 30))
