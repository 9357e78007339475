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

    tasks: int | None = None
    """None: they were not counted yet."""
    bytes: int | None = None
    tasks_coming: int = 0
    bytes_coming: int = 0
    tasks_kept: int = 0
    """Since this node knows the owner: what came while the store counted may be missing in its answer."""
    bytes_kept: int = 0
    counted_at: Seconds = 0.0
    """When the bytes were asked for last."""
    tasks_counted_at: Seconds = 0.0
    unseen: int = 0
    """Tasks let in since they were counted."""

    @property
    def tasks_expected(self) -> int:
        return (self.tasks or 0) + self.tasks_coming

    @property
    def bytes_expected(self) -> int:
        return (self.bytes or 0) + self.bytes_coming

    def keep(self, tasks: int, size: int) -> None:
        self.tasks_kept += tasks
        self.bytes_kept += size
        self.tasks = None if self.tasks is None else self.tasks + tasks
        self.bytes = None if self.bytes is None else self.bytes + size


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
                self._held.keep(1, one.task.input_bytes)

    def keep_bytes(self, size: int) -> None:
        self._held.keep(0, size)

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
        if key is None:
            return Share(self._nobody)
        if key.tasks_max is None and key.bytes_max is None:  # another key of this owner may be bounded
            return Share(self._held.get(key.owner, self._nobody), tasks, size)
        held = self._held.setdefault(key.owner, Held())
        if key.bytes_max is not None:
            await self._know_bytes(key.owner, held, key.bytes_max - size)
        if key.tasks_max is not None and tasks:
            await self._know_tasks(key.owner, held, key.tasks_max, tasks)
        # from here on nothing is waited for: whoever else asked meanwhile has reserved what was let in
        if key.tasks_max is not None and tasks:
            _refuse_tasks(key, held, key.tasks_max - tasks)
        if key.bytes_max is not None:
            _refuse_bytes(key, held, key.bytes_max - size)
        held.unseen += tasks
        return Share(held, tasks, size)

    async def _know_tasks(self, owner: str, held: Held, most: int, tasks: int) -> None:
        """Count the tasks, unless what is known will do."""
        full = held.tasks_expected > most - tasks
        if held.tasks is None or full or (self._shared and self._is_vague(held, held.tasks, most)):
            asked_at, kept, held.unseen = self._clock.monotonic(), held.tasks_kept, 0
            counted = await self._store.unfinished(owner)
            held.tasks, held.tasks_counted_at = counted + held.tasks_kept - kept, asked_at

    def _is_vague(self, held: Held, tasks: int, most: int) -> bool:
        """Tell whether what other nodes let in since the last count may matter."""
        age = self._clock.monotonic() - held.tasks_counted_at
        return age > SHARED_SECONDS or held.unseen * UNSEEN_SHARE > most - tasks

    async def _know_bytes(self, owner: str, held: Held, room: int) -> None:
        """Count the bytes, unless what is known will do or is being counted."""
        age = self._clock.monotonic() - held.counted_at
        full = held.bytes_expected > room
        if held.bytes is None or age > (FULL_SECONDS if full else STALE_SECONDS):
            held.counted_at, kept = self._clock.monotonic(), held.bytes_kept
            counted = await self._store.stored_bytes(owner)
            held.bytes = counted + held.bytes_kept - kept


def _refuse_tasks(key: ApiKey, held: Held, room: int) -> None:
    if held.tasks_expected > room:
        raise TooManyTasks(
            f"owner {key.owner!r} has {held.tasks_expected:,} unfinished tasks; "
            f"this key may make more up to {key.tasks_max:,}",
            retry_seconds=RETRY_TASKS_SECONDS,
            limit=key.tasks_max,
        )


def _refuse_bytes(key: ApiKey, held: Held, room: int) -> None:
    if held.bytes_expected > room:
        raise TooManyBytes(
            f"{held.bytes_expected:,} bytes are stored for owner {key.owner!r}; "
            f"this key may add to them up to {key.bytes_max:,}",
            retry_seconds=RETRY_BYTES_SECONDS,
            limit=key.bytes_max,
        )
