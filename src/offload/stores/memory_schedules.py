"""Schedules in memory: the reference that every other store is compared with."""

from collections.abc import Awaitable, Callable, Sequence

from offload.core.schedule import Schedule
from offload.core.task import Scope, Seconds
from offload.ports import Added, NewTask
from offload.ports.schedules import Firing

Add = Callable[[Sequence[NewTask]], Awaitable[list[Added]]]


class MemorySchedules:
    """Keep every promise of ScheduleStore except durability; `add` is the store's own, and never waits."""

    def __init__(self, add: Add) -> None:
        self._add = add
        self._found: dict[tuple[str, str], Schedule] = {}

    async def put(self, schedule: Schedule, *, version: int) -> bool:
        place = (schedule.name, schedule.owner)
        known = self._found.get(place)
        stands = version == 0 if known is None else (known.id, known.version) == (schedule.id, version)
        if not stands:
            return False
        self._found[place] = schedule
        return True

    async def get(self, owner: str, name: str) -> Schedule | None:
        return self._found.get((name, owner))

    async def find(self, scope: Scope, *, after: tuple[str, str] = ("", ""), limit: int = 100) -> list[Schedule]:
        places = sorted(place for place in self._found if place > after and scope.owner in (None, place[1]))
        return [self._found[place] for place in places[:limit]]

    async def delete(self, owner: str, name: str) -> bool:
        return self._found.pop((name, owner), None) is not None

    async def due(
        self, jobs: Sequence[str], *, now: Seconds, after: tuple[Seconds, str, str] | None = None, limit: int
    ) -> list[Schedule]:
        places = [(at, *place) for place, at in self._times(jobs) if at <= now]
        later = sorted(place for place in places if after is None or place > after)
        return [self._found[name, owner] for _, name, owner in later[:limit]]

    async def next_due(self, jobs: Sequence[str], *, now: Seconds) -> Seconds | None:
        return min((at for _, at in self._times(jobs) if at > now), default=None)

    async def fire(self, firing: Firing) -> list[Added] | None:
        before = firing.before
        known = self._found.get((before.name, before.owner))
        if known is None or (known.id, known.version) != (before.id, before.version):
            return None
        added = await self._add(firing.new)
        self._found[before.name, before.owner] = firing.after
        return added

    def _times(self, jobs: Sequence[str]) -> list[tuple[tuple[str, str], Seconds]]:
        return [
            (place, one.next_at)
            for place, one in self._found.items()
            if one.next_at is not None and one.what.job in jobs
        ]
