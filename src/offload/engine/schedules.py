"""Schedules as their owners have them: made, changed, read, deleted, and kept in step with what the code declares."""

import logging
from collections.abc import Callable
from pathlib import PurePath

import msgspec

from offload.core.errors import TryAgain
from offload.core.ring import SCHEDULES
from offload.core.schedule import Definition, Schedule, changed, new_schedule
from offload.core.schedule_errors import ScheduleDoesNotExist, ScheduleIsDeclared, WrongSchedule
from offload.core.task import ALL, Scope
from offload.engine.parts import Parts
from offload.engine.roll import MISSED_BEATS

log = logging.getLogger("offload.schedules")

SCHEDULES_MAX = 1_000
"""Of one owner."""
CROSSINGS_MAX = 20
PAGE = 200


class Schedules:
    """What a client may do with schedules. One per node; `listen` tells the scheduler that there may be a new one."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._listener: Callable[[], None] = lambda: None
        self.troubles: dict[tuple[str, str], str] = {}
        """Why due times of a schedule, by owner and name, wait on this node."""
        self._declared_in = ""
        self.leaving: set[str] = set()
        """Schedules that our file does not declare any more, but whose jobs other nodes still run."""

    def listen(self, listener: Callable[[], None]) -> None:
        self._listener = listener

    async def get(self, owner: str, name: str) -> Schedule:
        """Raise ScheduleDoesNotExist."""
        found = await self._parts.schedules.get(owner, name)
        if found is None:
            raise ScheduleDoesNotExist(name)
        return found

    async def find(self, scope: Scope, *, after: tuple[str, str] = ("", ""), limit: int = 100) -> list[Schedule]:
        return await self._parts.schedules.find(scope, after=after, limit=limit)

    async def put(self, owner: str, name: str, what: Definition, *, key_id: str = "") -> tuple[Schedule, bool]:
        """Make a schedule or change it; tell whether it is new. Raise ScheduleIsDeclared, WrongSchedule."""
        for _ in range(CROSSINGS_MAX):
            found = await self._parts.schedules.get(owner, name)
            if found is None:
                await self._check_count(owner)
            elif found.declared_in and msgspec.structs.replace(found.what, paused=what.paused) != what:
                raise ScheduleIsDeclared(name)
            schedule = await self._write(found, owner, name, what, key_id=key_id)
            if schedule is not None:
                return schedule, found is None
        raise TryAgain(f"schedule {name} keeps changing; ask again", retry_seconds=1)

    async def delete(self, owner: str, name: str) -> Schedule:
        """Raise ScheduleDoesNotExist, ScheduleIsDeclared."""
        found = await self.get(owner, name)
        if found.declared_in:
            raise ScheduleIsDeclared(name)
        if not await self._parts.schedules.delete(owner, name):
            raise ScheduleDoesNotExist(name)
        self.troubles.pop((owner, name), None)
        return found

    def trouble(self, schedule: Schedule) -> str | None:
        """Say why nothing comes of a schedule on this node, None when all is well."""
        if schedule.what.job not in self._parts.catalog.jobs:
            return f"this server has no job {schedule.what.job!r}; due times wait for one that has"
        return self.troubles.get((schedule.owner, schedule.name))

    async def declare(self, source: str) -> None:
        """Bring the stored schedules in line with the ones that the jobs of `source` declare."""
        self._declared_in = declared_in = _name_of(source)
        for job in self._parts.catalog.jobs.values():
            if job.recurrence is not None:
                what = Definition(job=job.name, recurrence=job.recurrence, catch_up=job.catch_up)
                await self._declare(job.name, what, declared_in)
        for schedule in await self.remove_undeclared():
            if schedule.what.job not in self._parts.catalog.jobs:
                log.warning("schedule %s waits: %s", schedule.name, self.trouble(schedule))

    async def remove_undeclared(self) -> list[Schedule]:
        """Remove what our file declared once and does not any more; return every schedule that stays.

        One whose job another node runs stays until that node is gone: it may be of another file of the same name.
        """
        found, stays = await self.all(), []
        elsewhere = await self._run_elsewhere() if any(map(self._is_undeclared, found)) else {}
        self.leaving, before = set(), self.leaving
        for schedule in found:
            if not self._is_undeclared(schedule):
                stays.append(schedule)
            elif (node := elsewhere.get(schedule.name)) is None:
                await self._parts.schedules.delete(schedule.owner, schedule.name)
                log.info("schedule %s is no longer declared, and removed", schedule.name)
            else:
                self.leaving.add(schedule.name)
                if schedule.name not in before:
                    log.warning(
                        "schedule %s is not declared here, and stays while node %s runs it", schedule.name, node
                    )
        return stays

    async def all(self) -> list[Schedule]:
        """Return every schedule of every owner."""
        found: list[Schedule] = []
        while True:
            after = (found[-1].name, found[-1].owner) if found else ("", "")
            page = await self._parts.schedules.find(ALL, after=after, limit=PAGE)
            found += page
            if len(page) < PAGE:
                return found

    async def _declare(self, name: str, what: Definition, declared_in: str) -> None:
        for _ in range(CROSSINGS_MAX):
            found = await self._parts.schedules.get("", name)
            if found is not None:
                if not found.declared_in:
                    log.warning("schedule %s was made by request; from now on it is what the code declares", name)
                what = msgspec.structs.replace(what, paused=found.what.paused)
                if found.declared_in and found.what != what and (node := (await self._run_elsewhere()).get(name)):
                    log.warning(
                        "schedule %s is from now on what this node declares; node %s runs a job of that name as well, "
                        "and jobs of one name share their schedule: if they are not the same, rename one", name, node,
                    )  # fmt: skip
            if await self._write(found, "", name, what, declared_in=declared_in) is not None:
                return

    async def _write(
        self,
        found: Schedule | None,
        owner: str,
        name: str,
        what: Definition,
        *,
        key_id: str = "",
        declared_in: str | None = None,
    ) -> Schedule | None:
        """Write what becomes of a schedule; return it, or None when somebody else was quicker."""
        now = self._parts.clock.now()
        if found is None:
            schedule = new_schedule(name, owner, what, now)
        else:
            schedule = found if found.what == what else changed(found, what, now)
            key_id = key_id or found.key_id
            declared_in = found.declared_in if declared_in is None else declared_in
        schedule = msgspec.structs.replace(schedule, key_id=key_id, declared_in=declared_in or "")
        if schedule == found:
            return schedule
        version = 0 if found is None else found.version
        schedule = msgspec.structs.replace(schedule, version=version + 1)
        if not await self._parts.schedules.put(schedule, version=version):
            return None
        self._listener()
        self._parts.ringer.topic(SCHEDULES)
        return schedule

    def _is_undeclared(self, schedule: Schedule) -> bool:
        job = self._parts.catalog.jobs.get(schedule.name)
        return schedule.declared_in == self._declared_in and (job is None or job.recurrence is None)

    async def _run_elsewhere(self) -> dict[str, str]:
        """Return the jobs that other nodes run, each with one of those nodes."""
        parts = self._parts
        oldest = parts.clock.now() - MISSED_BEATS * parts.timing.heartbeat_seconds
        others = [node for node in await parts.nodes.all() if node.name != parts.node and node.seen_at >= oldest]
        return {job: node.name for node in others if not node.stopping for job in node.jobs}

    async def _check_count(self, owner: str) -> None:
        if len(await self._parts.schedules.find(Scope(owner=owner), limit=SCHEDULES_MAX)) >= SCHEDULES_MAX:
            raise WrongSchedule(f"there are {SCHEDULES_MAX:,} schedules already; delete one first")


def _name_of(source: str) -> str:
    """Return how a jobs file or module is called, wherever it lies."""
    return PurePath(source).stem if source.endswith(".py") else source
