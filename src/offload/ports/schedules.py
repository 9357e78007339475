"""The store of schedules: whatever many nodes try, a due time is acted on once."""

from collections.abc import Sequence
from typing import Protocol

from offload.core.schedule import Schedule
from offload.core.task import Record, Scope, Seconds
from offload.ports import Added, NewTask


class Firing(Record, frozen=True, kw_only=True):
    """What one node has decided about due times of a schedule: the tasks they make, and the schedule afterwards."""

    before: Schedule
    after: Schedule
    new: tuple[NewTask, ...] = ()


class ScheduleStore(Protocol):
    """Schedules by owner and name. A call that has returned is durable; one that raised has changed nothing.

    Raises DiskFull or StoreUnavailable.
    """

    async def put(self, schedule: Schedule, *, version: int) -> bool:
        """Write it when the stored one is the same, at this version (0: when there is none); tell whether it was."""

    async def get(self, owner: str, name: str) -> Schedule | None: ...

    async def find(self, scope: Scope, *, after: tuple[str, str] = ("", ""), limit: int = 100) -> list[Schedule]:
        """Return schedules in the order of their names, then owners: those after this (name, owner)."""

    async def delete(self, owner: str, name: str) -> bool:
        """Tell whether there was one. Its tasks stay."""

    async def due(
        self, jobs: Sequence[str], *, now: Seconds, after: tuple[Seconds, str, str] | None = None, limit: int
    ) -> list[Schedule]:
        """Return schedules of these jobs with `next_at` at `now` or before, by (next_at, name, owner): after this."""

    async def next_due(self, jobs: Sequence[str], *, now: Seconds) -> Seconds | None:
        """Return the earliest `next_at` after `now` of the schedules of these jobs."""

    async def fire(self, firing: Firing) -> list[Added] | None:
        """Add the tasks and write the schedule in one commit, when it is still at its version; else None.

        A task that is there already under its id is the same one: it was made for the same due time.
        """
