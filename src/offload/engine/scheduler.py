"""Turns due times of schedules into tasks: each into exactly one, however many nodes try and whenever they die."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from offload.core.errors import TryAgain
from offload.core.ring import SCHEDULES
from offload.core.schedule import Plan, Schedule, acted, mended, plan, tags_of, task_id_of
from offload.core.task import FileRef, Seconds
from offload.engine.engine import Engine
from offload.engine.keyring import Keyring
from offload.engine.orders import Order, new_task
from offload.engine.parts import Parts
from offload.engine.rounds import Rounds
from offload.ports import NewTask
from offload.ports.schedules import Firing

log = logging.getLogger("offload.scheduler")

POLL_SECONDS = 15.0
"""What other nodes did with schedules, and what the wall clock did, is noticed after so long; all else at once."""
RETRY_SECONDS_MAX = 15.0
PAGE = 200
JUMP_SECONDS = 2.0


class Scheduler:
    """One per node. It sleeps until the next due time, then does what the plan of each due schedule says.

    The tasks and the schedule's progress are one commit: a crash leaves neither or both, and of several nodes one wins.
    """

    def __init__(self, parts: Parts, engine: Engine, keyring: Keyring) -> None:
        self._parts = parts
        self._engine = engine
        self._keyring = keyring
        self._rounds = Rounds(self._round, what="due schedules", log=log)
        self._offset = 0.0
        self._jobs = tuple(parts.catalog.jobs)

    async def start(self, source: str) -> None:
        """Bring the schedules in line with the code that came from `source`, and begin."""
        await self._engine.schedules.declare(source)
        await self._mend()
        self._engine.schedules.listen(self.wake)
        self._engine.neighbours.on({SCHEDULES: self._heard})
        self._rounds.start()

    async def stop(self) -> None:
        await self._rounds.stop(cut_off=True)

    def wake(self) -> None:
        """Look at once."""
        self._rounds.wake()

    async def _heard(self) -> None:
        self.wake()

    async def _round(self) -> Seconds:
        """Act on everything that is due; return after how many seconds to look again."""
        clock = self._parts.clock
        if abs(clock.now() - clock.monotonic() - self._offset) > JUMP_SECONDS:
            await self._mend()
        if self._engine.schedules.leaving:
            await self._engine.schedules.remove_undeclared()
        now = clock.now()
        seconds = POLL_SECONDS
        full: set[str] = set()
        after: tuple[Seconds, str, str] | None = None
        while True:
            page = await self._parts.schedules.due(self._jobs, now=now, after=after, limit=PAGE)
            waits = await asyncio.gather(*(self._act(schedule, now, full) for schedule in page))
            seconds = min([seconds, *(wait for wait in waits if wait is not None)])
            if len(page) < PAGE:
                break
            last = page[-1]
            assert last.next_at is not None
            after = (last.next_at, last.name, last.owner)
        next_at = await self._parts.schedules.next_due(self._jobs, now=now)
        if next_at is not None:
            seconds = min(seconds, max(0.005, next_at - clock.now()))
        return seconds

    async def _act(self, schedule: Schedule, now: Seconds, full: set[str]) -> Seconds | None:
        """Do what is due of one schedule; return after how many seconds what had to wait is tried again."""
        place = (schedule.owner, schedule.name)
        troubles = self._engine.schedules.troubles
        try:
            found = plan(schedule, now)
            if found.times and (queue := self._parts.catalog.find(schedule.what.job).queue) in full:
                raise TryAgain(f"queue {queue!r} is full", retry_seconds=1)
            done = await self._fire_some(schedule, found, now)
        except TryAgain as error:
            if error.code == "QueueFull":
                full.add(self._parts.catalog.find(schedule.what.job).queue)
            self._parts.stats.schedules_held_up[schedule.what.job, error.code] += 1
            self._tell(place, f"due times wait: {error}")
            return min(RETRY_SECONDS_MAX, float(error.retry_seconds or 1))
        except Exception as error:
            log.exception("schedule %s could not be acted on; trying again", schedule.name)
            troubles[place] = f"{type(error).__name__}: the server could not act on it; its log says more"
            return RETRY_SECONDS_MAX
        troubles.pop(place, None)
        return None if done else 0.0

    async def _fire_some(self, schedule: Schedule, found: Plan, now: Seconds) -> bool:
        """Make the tasks of as many due times as there is room for, the earliest first; tell whether that was all.

        Raise TryAgain when there is room for none.
        """
        count = len(found.times)
        while True:
            try:
                return await self._fire(schedule, found, now, count)
            except TryAgain:
                if count <= 1:
                    raise
                count //= 2

    async def _fire(self, schedule: Schedule, found: Plan, now: Seconds, count: int) -> bool:
        parts, what = self._parts, schedule.what
        times = found.times[:count]
        firing = Firing(before=schedule, after=acted(schedule, found, count))
        if not times:
            fired = await parts.schedules.fire(firing)
        else:
            holder = self._keyring.holder(schedule.key_id) if schedule.key_id else None
            size = len(what.input) * count
            queue = parts.catalog.find(what.job).queue
            share = await self._keyring.quotas.share(None if holder is None else holder.key, tasks=count, size=size)
            with share, self._engine.gate.admit(queue, tasks=count, body_bytes=size):
                new = tuple(self._task(schedule, due_at, now) for due_at in times)
                fired = await parts.schedules.fire(msgspec.structs.replace(firing, new=new))
                if fired is not None:
                    share.keep(*fired)
                    self._engine.welcome(fired)
        if fired is None:
            return True  # another node was quicker, or it was changed: it is read anew when it is due again
        self._count(schedule, [due_at for due_at, one in zip(times, fired, strict=True) if one.fresh], found, now)
        return count == len(found.times)

    def _task(self, schedule: Schedule, due_at: Seconds, now: Seconds) -> NewTask:
        what, task_id = schedule.what, task_id_of(schedule, due_at)
        job = self._parts.catalog.find(what.job)
        input = what.input
        files: tuple[FileRef, ...] = ()
        try:
            checked = job.schema.check_json(job.name, what.input)
        except Exception:
            log.warning("the input of schedule %s no longer fits job %s; its tasks will FAIL", schedule.name, job.name)
        else:
            input = checked.input
            files = tuple(
                FileRef(blob=f"t/{task_id}/in/{n}", name="", type="", size=0, field=source.field, url=source.value)
                for n, source in enumerate(checked.sources)
            )
        order = Order(
            id=task_id,
            job=job.name,
            owner=schedule.owner,
            input=input,
            files=files,
            priority=what.priority,
            deadline_seconds=what.deadline_seconds,
            tags=tags_of(schedule, due_at),
            callback=what.callback,
            fingerprint=f"schedule:{schedule.id}",
        )
        return new_task(order, job, now)

    def _count(self, schedule: Schedule, made: Sequence[Seconds], found: Plan, now: Seconds) -> None:
        stats, job = self._parts.stats, schedule.what.job
        stats.schedules_fired[job] += len(made)
        stats.schedules_late_seconds[job] += sum(max(0.0, now - due_at) for due_at in made)
        if found.missed:
            stats.schedules_missed[job] += found.missed
            log.warning("schedule %s: %d due times had passed and make no task", schedule.name, found.missed)

    def _tell(self, place: tuple[str, str], trouble: str) -> None:
        if place not in self._engine.schedules.troubles:
            log.warning("schedule %s: %s", place[1], trouble)
        self._engine.schedules.troubles[place] = trouble

    async def _mend(self) -> None:
        """Put right what a wall clock that ran ahead, and was put back, left too far in the future."""
        clock = self._parts.clock
        self._offset = clock.now() - clock.monotonic()
        for schedule in await self._engine.schedules.all():
            right = mended(schedule, clock.now())
            if right is not None and await self._parts.schedules.put(right, version=schedule.version):
                log.warning("schedule %s was due too far in the future; the clock must have run ahead", schedule.name)
