"""Schedules in the simulation: schedulers that are cut off anywhere, and what must have come of every due time."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import msgspec

from offload.core.recurrence import CatchUp, Recurrence
from offload.core.schedule import LATE_SECONDS_MAX, Definition, Schedule
from offload.core.task import ALL, Task
from offload.engine.keyring import Keyring
from offload.engine.scheduler import Scheduler
from offload.ports import Filter
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import START, Kit
from tests.unit.engine.waiting import until_async

CHANGING = "changing"
POLICIES: dict[str, tuple[CatchUp, float]] = {
    "newest": ("last", 15.0),
    "punctual": ("skip", 25.0),
    CHANGING: ("all", 20.0),
}
"""By name: what becomes of due times that passed, and the seconds between them. `tick` is declared by its job."""


@dataclass
class Recurring:
    """One scheduler for each node."""

    nodes: list[Kit]
    memory: MemoryStore
    schedulers: list[Scheduler] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    """From when to when `changing` was paused, for certain."""
    paused_at: float | None = None
    _changes: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self) -> None:
        for node in self.nodes:
            self.schedulers.append(await self._started(node))
        for name, (catch_up, seconds) in POLICIES.items():
            what = Definition(job="quick", recurrence=Recurrence(every_seconds=seconds), catch_up=catch_up)
            await self.nodes[0].engine.schedules.put("", name, what)

    async def stop(self) -> None:
        for scheduler in self.schedulers:
            await scheduler.stop()

    def wake(self) -> None:
        for scheduler in self.schedulers:
            scheduler.wake()

    async def cut_off(self, chance: random.Random) -> None:
        """End a scheduler wherever it is, between a commit and its answer too, and start another in its place."""
        number = chance.randrange(len(self.schedulers))
        async with self._changes:
            await self.schedulers[number].stop()
            self.schedulers[number] = await self._started(self.nodes[number])

    async def pause_or_resume(self, chance: random.Random) -> None:
        async with self._changes:
            node = chance.choice(self.nodes)
            called_at = node.clock.at
            pauses = self.paused_at is None
            what = (await node.engine.schedules.get("", CHANGING)).what
            await node.engine.schedules.put("", CHANGING, msgspec.structs.replace(what, paused=pauses))
            if self.paused_at is not None:
                self.pauses.append((self.paused_at, called_at))
            self.paused_at = node.clock.at if pauses else None

    async def settle(self) -> list[str]:
        """Wait until nothing is due, check what has become of the due times, and return the tasks that they made."""

        async def acted() -> bool:
            self.wake()
            return all(one.next_at is None or one.next_at > self.nodes[0].clock.at for one in await self._all())

        await until_async(acted)
        await self.stop()
        made = []
        for schedule in await self._all():
            tasks = await self.memory.find(ALL, Filter(tags={"schedule": schedule.name}, limit=10_000))
            self._check(schedule, tasks)
            made += [task.id for task in tasks]
        return made

    async def _all(self) -> list[Schedule]:
        return await self.memory.schedules.find(ALL)

    async def _started(self, node: Kit) -> Scheduler:
        parts = node.engine.parts
        scheduler = Scheduler(parts, node.engine, Keyring(self.memory.keys, node.clock, parts.ringer))
        await scheduler.start("jobs.py")
        return scheduler

    def _check(self, schedule: Schedule, tasks: list[Task]) -> None:
        """Each due time made one task or none, and which of the two is what the policy says."""
        made = {due_at(task): task for task in tasks}
        assert len(made) == len(tasks) == schedule.fired, (schedule, Counter(due_at(task) for task in tasks))
        every = schedule.what.recurrence.every_seconds
        for at in made:
            assert abs((at - schedule.anchor_at) % every) < 0.002 or every - (at - schedule.anchor_at) % every < 0.002
        if schedule.name == CHANGING:
            assert not [at for at in made for begin, end in self.pauses if begin < at < end], (made, self.pauses)
            return
        passed = round((cast(float, schedule.next_at) - schedule.anchor_at) / every) - 1
        assert schedule.fired + schedule.missed == passed, schedule
        if schedule.what.catch_up == "all":
            assert schedule.missed == 0, schedule
        if schedule.what.catch_up == "skip":
            assert all(task.created_at - at <= LATE_SECONDS_MAX for at, task in made.items()), schedule
        elif passed:
            newest = cast(float, schedule.next_at) - every
            assert schedule.last_at is not None and abs(schedule.last_at - newest) < 0.002, schedule


def due_at(task: Task) -> float:
    """Return the due time that made a task."""
    at = datetime.fromisoformat(task.tags["due"]).timestamp()
    assert at > START, task
    return at
