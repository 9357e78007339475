"""What an owner may hold: counted as it comes, and counted anew in the store before anybody is refused."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from offload.core.errors import QuotaExceeded
from offload.core.keys import ApiKey
from offload.core.task import Seconds
from offload.ports import Added, Clock
from offload.ports.keys import KeyStore

STALE_SECONDS = 10.0
"""Results add to the stored bytes unseen; after so long they are counted anew."""
FULL_SECONDS = 1.0
"""Counting stored bytes takes a while, so an owner who is full is counted anew only so often."""
SHARED_SECONDS = 1.0
"""Other nodes of the store let tasks in as well; after so long they are counted anew."""
UNSEEN_SHARE = 8
"""And sooner, when this node let in one part in so many of the room that was left."""
RETRY_TASKS_SECONDS, RETRY_BYTES_SECONDS = 1, 10


class TooManyTasks(QuotaExceeded):
    what = "tasks"


class TooManyBytes(QuotaExceeded):
    what = "bytes"


@dataclass(slots=True)
class Held:
    """What one owner has, as far as is known: never too little for long, often too much."""

    tasks: int = 0
    bytes: int = 0
    tasks_coming: int = 0
    bytes_coming: int = 0
    counted_at: Seconds | None = None
    """When the bytes were counted; None: nothing was yet."""
    tasks_counted_at: Seconds | None = None
    unseen: int = 0
    """Tasks let in since they were counted."""


class Share:
    """A part of what an owner may hold, reserved; leaving it gives back what was not kept."""

    __slots__ = ("_bytes", "_held", "_tasks")

    def __init__(self, held: Held, tasks: int = 0, size: int = 0) -> None:
        self._held, self._tasks, self._bytes = held, tasks, size
        held.tasks_coming += tasks
        held.bytes_coming += size

    def keep(self, *added: Added) -> None:
        """Count the tasks that were made."""
        for one in added:
            if one.fresh:
                self.keep_bytes(one.task.input_bytes)
                self._held.tasks += 1

    def keep_bytes(self, size: int) -> None:
        self._held.bytes += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.tasks_coming -= self._tasks
        self._held.bytes_coming -= self._bytes


class Quotas:
    """Hands out shares."""

    def __init__(self, store: KeyStore, clock: Clock, *, shared: bool) -> None:
        self._store = store
        self._clock = clock
        self._shared = shared
        self._held: dict[str, Held] = {}
        self._nobody = Held()

    async def share(self, key: ApiKey | None, *, tasks: int, size: int) -> Share:
        """Reserve what a key's owner is about to hold. Raise QuotaExceeded."""
        if key is None or (key.tasks_max is None and key.bytes_max is None):
            return Share(self._nobody)
        held = self._held.get(key.owner)
        if held is None:
            held = self._held[key.owner] = Held()
            await self._count_tasks(key, held)
        if key.tasks_max is not None and tasks:
            await self._check_tasks(key, held, tasks, key.tasks_max)
        if key.bytes_max is not None:
            await self._check_bytes(key, held, key.bytes_max - size)
        return Share(held, tasks, size)

    async def _count_tasks(self, key: ApiKey, held: Held) -> None:
        held.tasks_counted_at, held.unseen = self._clock.monotonic(), 0
        held.tasks = await self._store.unfinished(key.owner)

    async def _check_tasks(self, key: ApiKey, held: Held, tasks: int, most: int) -> None:
        room = most - tasks
        full = held.tasks + held.tasks_coming > room
        if full or (self._shared and self._is_vague(held, most)):
            await self._count_tasks(key, held)
        held.unseen += tasks
        if held.tasks + held.tasks_coming > room:
            raise TooManyTasks(
                f"owner {key.owner!r} has {held.tasks + held.tasks_coming:,} unfinished tasks; "
                f"this key may make more up to {key.tasks_max:,}",
                retry_seconds=RETRY_TASKS_SECONDS,
                limit=key.tasks_max,
            )

    def _is_vague(self, held: Held, most: int) -> bool:
        """Tell whether what other nodes let in since the last count may matter."""
        assert held.tasks_counted_at is not None
        age = self._clock.monotonic() - held.tasks_counted_at
        return age > SHARED_SECONDS or held.unseen * UNSEEN_SHARE > most - held.tasks

    async def _check_bytes(self, key: ApiKey, held: Held, room: int) -> None:
        age = None if held.counted_at is None else self._clock.monotonic() - held.counted_at
        full = held.bytes + held.bytes_coming > room
        if age is None or age > (FULL_SECONDS if full else STALE_SECONDS):
            held.counted_at = self._clock.monotonic()
            held.bytes = await self._store.stored_bytes(key.owner)
        if held.bytes + held.bytes_coming > room:
            raise TooManyBytes(
                f"{held.bytes + held.bytes_coming:,} bytes are stored for owner {key.owner!r}; "
                f"this key may add to them up to {key.bytes_max:,}",
                retry_seconds=RETRY_BYTES_SECONDS,
                limit=key.bytes_max,
            )
