"""The scheduler with a clock that is set by hand: each due time one task, whoever tries, whatever goes wrong."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from offload import job
from offload.core.admission import Capacity
from offload.core.catalog import Catalog
from offload.core.errors import StoreUnavailable
from offload.core.keys import KeyScope, Wish
from offload.core.recurrence import CatchUp, Recurrence, read_recurrence
from offload.core.schedule import Definition, Schedule
from offload.core.schedule_errors import ScheduleIsDeclared
from offload.core.task import ALL, Status, Task
from offload.engine import schedules as schedules_of_all
from offload.engine.keyring import Keyring
from offload.engine.scheduler import Scheduler
from offload.ports import Added, Filter
from offload.ports.nodes import NodeState
from offload.ports.schedules import Firing
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import START, Kit, kit
from tests.unit.engine.waiting import until, until_async

MINUTE = Recurrence(every_seconds=60.0)


@job
def noop() -> None:
    """Do nothing."""


@job
def report(days: int) -> None: ...


@job(every="1m", catch_up="all")
def tick() -> None: ...


@job(cron="0 2 * * *", timezone="Europe/Berlin")
def nightly() -> None: ...


PLAIN = Catalog.of_jobs(noop, report)


@dataclass
class Scheduled:
    kit: Kit
    schedulers: list[Scheduler]
    keyring: Keyring

    async def put(
        self, name: str = "poll", *, catch_up: CatchUp = "last", owner: str = "", key_id: str = "", **given: object
    ) -> Schedule:
        what = msgspec.structs.replace(Definition(job="noop", recurrence=MINUTE, catch_up=catch_up), **given)
        return (await self.kit.engine.schedules.put(owner, name, what, key_id=key_id))[0]

    async def get(self, name: str = "poll", owner: str = "") -> Schedule:
        return await self.kit.engine.schedules.get(owner, name)

    async def tasks(self, name: str = "poll") -> list[Task]:
        found = await self.kit.store.find(ALL, Filter(tags={"schedule": name}, limit=1000))
        return sorted(found, key=lambda task: task.tags["due"])

    async def set_on(self, seconds: float) -> None:
        """Let time pass at once, and let everybody see what became due."""
        self.kit.clock.at += seconds
        for scheduler in self.schedulers:
            scheduler.wake()

    async def acted(self, name: str = "poll", owner: str = "") -> Schedule:
        """Return the schedule once nothing of it is due."""

        async def done() -> bool:
            found = await self.get(name, owner)
            return found.next_at is None or found.next_at > self.kit.clock.at

        await until_async(done)
        return await self.get(name, owner)


@asynccontextmanager
async def scheduled(
    root: Path, catalog: Catalog = PLAIN, *, schedulers: int = 1, capacity: Capacity | None = None
) -> AsyncIterator[Scheduled]:
    async with kit(root, catalog, capacity=capacity, places=2000) as found:
        memory = found.store
        assert isinstance(memory, MemoryStore)
        keyring = Keyring(memory.keys, found.clock, found.engine.parts.ringer)
        made = [Scheduler(found.engine.parts, found.engine, keyring) for _ in range(schedulers)]
        for scheduler in made:
            await scheduler.start("jobs.py")
        try:
            yield Scheduled(found, made, keyring)
        finally:
            for scheduler in made:
                await scheduler.stop()


async def test_each_due_time_makes_one_task_however_many_schedulers_there_are(tmp_path: Path) -> None:
    async with scheduled(tmp_path, schedulers=4) as it:
        await it.put(input=b"{}", tags={"a": "b"}, priority=5, deadline_seconds=30.0)
        for _ in range(5):
            await it.set_on(60)
            await it.acted()
        tasks = await it.tasks()
        assert [task.created_at - START for task in tasks] == [60, 120, 180, 240, 300]
        assert all((task.job, task.priority, task.tags["a"]) == ("noop", 5, "b") for task in tasks)
        assert tasks[0].deadline_at == START + 90
        schedule = await it.get()
        assert (schedule.fired, schedule.missed, schedule.last_at) == (5, 0, START + 300)
        assert schedule.last_task == tasks[-1].id
        assert it.kit.engine.stats.schedules_fired["noop"] == it.kit.engine.stats.submitted["noop"] == 5


@pytest.mark.parametrize(("catch_up", "made"), [("skip", 1), ("last", 1), ("all", 60)])
async def test_an_hour_that_was_slept_through_is_caught_up_as_the_policy_says(
    tmp_path: Path, catch_up: CatchUp, made: int
) -> None:
    async with scheduled(tmp_path) as it:
        await it.put(catch_up=catch_up)
        await it.set_on(3600)
        schedule = await it.acted()
        assert (schedule.fired, schedule.missed) == (made, 60 - made)
        assert len(await it.tasks()) == made
        assert it.kit.engine.stats.schedules_missed["noop"] == 60 - made


async def test_with_skip_nothing_comes_of_a_due_time_that_passed_long_ago(tmp_path: Path) -> None:
    async with scheduled(tmp_path) as it:
        await it.put(catch_up="skip", recurrence=Recurrence(every_seconds=3600.0))
        await it.set_on(3600 + 300)
        schedule = await it.acted()
        assert (schedule.fired, schedule.missed, schedule.next_at) == (0, 1, START + 7200)


async def test_a_full_queue_holds_due_times_up_and_loses_none(tmp_path: Path) -> None:
    async with scheduled(tmp_path, capacity=Capacity(tasks_max=3)) as it:
        await it.put("all", catch_up="all")
        await it.set_on(300)
        await until_async(lambda: _count(it, "all", 3))
        await until(lambda: ("", "all") in it.kit.engine.schedules.troubles)
        assert "due times wait" in str(it.kit.engine.schedules.trouble(await it.get("all")))
        assert (await it.get("all")).next_at == START + 240
        for task in await it.tasks("all"):
            await it.kit.engine.cancel(ALL, task.id)
        await it.set_on(0)
        schedule = await it.acted("all")
        assert [task.tags["due"][14:19] for task in await it.tasks("all")] == [f"0{n}:00" for n in range(1, 6)]
        assert (schedule.fired, schedule.missed) == (5, 0)
        assert it.kit.engine.schedules.trouble(schedule) is None
        assert it.kit.engine.stats.schedules_held_up["noop", "QueueFull"] >= 1


async def test_with_skip_a_due_time_waits_for_room_a_minute_and_no_longer(tmp_path: Path) -> None:
    async with scheduled(tmp_path, capacity=Capacity(tasks_max=1)) as it:
        blocker = await it.kit.submit(task_id="0" * 8 + "-0000-4000-8000-" + "0" * 12)
        await it.put(catch_up="skip", recurrence=Recurrence(every_seconds=3600.0))
        await it.set_on(3600)
        await until(lambda: ("", "poll") in it.kit.engine.schedules.troubles)
        assert (await it.get()).next_at == START + 3600
        await it.set_on(61)
        schedule = await it.acted()
        assert (schedule.fired, schedule.missed) == (0, 1)
        await it.kit.engine.cancel(ALL, blocker.id)
        await it.set_on(3600 - 61)
        assert (await it.acted()).fired == 1


async def test_the_quotas_of_the_key_that_made_it_hold(tmp_path: Path) -> None:
    async with scheduled(tmp_path) as it:
        key = (await it.keyring.create(Wish(owner="anna", scopes=(KeyScope.SUBMIT,), tasks_max=2))).key
        await it.put(owner="anna", key_id=key.id, catch_up="all")
        await it.set_on(300)
        await until(lambda: ("anna", "poll") in it.kit.engine.schedules.troubles)
        tasks = await it.tasks()
        assert len(tasks) == 2 and {task.owner for task in tasks} == {"anna"}
        assert it.kit.engine.stats.schedules_held_up["noop", "QuotaExceeded"] >= 1
        for task in tasks:
            await it.kit.engine.cancel(ALL, task.id)
        await it.set_on(0)
        await until_async(lambda: _count(it, "poll", 4))


async def test_what_no_longer_fits_its_job_fails_where_it_can_be_seen(tmp_path: Path) -> None:
    async with scheduled(tmp_path) as it:
        await it.put(job="report", input=b'{"weeks":1}')
        await it.set_on(60)
        await it.acted()
        (task,) = await it.tasks()
        assert task.input == b'{"weeks":1}' and task.status in (Status.QUEUED, Status.RUNNING)


async def test_a_job_that_is_gone_is_trouble_and_its_due_times_wait(tmp_path: Path) -> None:
    async with scheduled(tmp_path) as it:
        await it.put(job="gone", catch_up="last")
        await it.put("good")
        await it.set_on(120)
        await it.acted("good")
        gone = await it.get()
        assert (gone.fired, gone.missed, gone.next_at) == (0, 0, START + 60)
        assert "no job 'gone'" in str(it.kit.engine.schedules.trouble(gone))
        assert it.kit.engine.schedules.trouble(await it.get("good")) is None


async def test_what_fails_after_the_commit_is_not_done_again(tmp_path: Path) -> None:
    """The answer of the store is lost: nobody knows whether it was written."""
    async with scheduled(tmp_path) as it:
        memory = it.kit.store
        assert isinstance(memory, MemoryStore)
        fire, failures = memory.schedules.fire, ["after", "before", "after"]

        async def failing(firing: Firing) -> list[Added] | None:
            when = failures.pop() if failures else ""
            added = None if when == "before" else await fire(firing)
            if when:
                raise StoreUnavailable("the line was cut", retry_seconds=1)
            return added

        memory.schedules.fire = failing  # type: ignore[method-assign]
        await it.put(catch_up="all")
        for minute in range(1, 6):
            await it.set_on(60)
            await it.acted()
            assert len(await it.tasks()) == minute
        assert not failures


async def test_nothing_fires_twice_or_never_again_when_the_clock_was_wrong(tmp_path: Path) -> None:
    async with scheduled(tmp_path) as it:
        clock = it.kit.clock
        await it.put("daily", recurrence=read_recurrence(cron="0 2 * * *"), catch_up="all")
        await it.put("poll")
        await it.set_on(86_400 * 30)
        fired = (await it.acted("daily")).fired
        await it.acted()
        assert fired == 30
        before = [task.id for task in await it.tasks("daily")]
        await it.set_on(-86_400 * 30)  # it had been right before
        it.schedulers[0]._offset += 1e6  # the hand clock's two faces move together; a real one's do not
        it.schedulers[0].wake()
        await until_async(lambda: _is_near(it, "daily"))
        await until_async(lambda: _is_near(it, "poll"))
        polled = (await it.get()).fired
        await it.set_on(60)
        assert (await it.acted()).fired == polled + 1
        await it.set_on(86_400 * 31)
        await it.acted("daily")
        tasks = [task.id for task in await it.tasks("daily")]
        assert len(tasks) == len(set(tasks)) == 31 and set(before) < set(tasks)
        assert clock.at > START


async def test_what_the_code_declares_is_kept_in_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules_of_all, "PAGE", 1)
    declared = Catalog.of_jobs(tick, nightly, noop)
    async with scheduled(tmp_path, declared) as it:
        schedules = it.kit.engine.schedules
        assert [found.name for found in await schedules.all()] == ["nightly", "tick"]
        await it.set_on(60)
        first = await it.acted("tick")
        assert (first.fired, first.declared_in, first.what.catch_up) == (1, "jobs", "all")
        with pytest.raises(ScheduleIsDeclared):
            await it.put("tick", job="tick")
        with pytest.raises(ScheduleIsDeclared):
            await schedules.delete("", "tick")
        paused = await it.put("tick", **msgspec.structs.asdict(first.what) | {"paused": True})
        assert paused.next_at is None and paused.declared_in == "jobs"

        changed = {**declared.jobs, "tick": Catalog.of_jobs(_every_hour()).jobs["tick"]}
        del changed["nightly"]
        await _declare_anew(it, changed)
        assert [found.name for found in await schedules.all()] == ["tick"]
        again = await it.get("tick")
        assert (again.what.recurrence.every_seconds, again.fired, again.last_task) == (3600, 1, first.last_task)
        assert again.what.paused and again.id == first.id
        await _declare_anew(it, {})
        assert await schedules.all() == []


async def test_another_jobs_file_leaves_what_it_does_not_declare_alone(tmp_path: Path) -> None:
    async with scheduled(tmp_path, Catalog.of_jobs(tick, noop)) as it:
        await it.put("mine")
        await it.kit.engine.schedules.declare("elsewhere/other.py")
        assert {found.name: found.declared_in for found in await it.kit.engine.schedules.all()} == {
            "mine": "",
            "tick": "other",
        }
        await _declare_anew(it, {}, source="/srv/jobs.py")
        assert {found.name for found in await it.kit.engine.schedules.all()} == {"mine", "tick"}


async def test_what_another_node_still_runs_is_not_removed_before_that_node_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scheduled(tmp_path, Catalog.of_jobs(tick, nightly, noop)) as it:
        schedules, nodes = it.kit.engine.schedules, it.kit.engine.parts.nodes
        now = it.kit.clock.at
        await nodes.beat(NodeState(name="b", version="1", started_at=now, seen_at=now, serves=True, jobs=("nightly",)))
        changed = Catalog.of_jobs(_every_hour(), noop).jobs
        await _declare_anew(it, changed)
        assert [found.name for found in await schedules.all()] == ["nightly", "tick"]
        assert "nightly is not declared here, and stays while node b runs it" in caplog.text
        assert "tick is from now on" not in caplog.text, "nobody else runs that one"
        object.__setattr__(it.kit.engine.parts, "catalog", Catalog(jobs=changed))
        await it.set_on(60)  # so the node is gone
        await until_async(lambda: _is_gone(it, "nightly"))
        await nodes.beat(
            NodeState(name="c", version="1", started_at=now, seen_at=now + 60, serves=True, jobs=("tick",))
        )
        await _declare_anew(it, Catalog.of_jobs(tick).jobs)
        assert "tick is from now on what this node declares; node c runs a job of that name as well" in caplog.text


async def test_neither_a_node_that_stops_nor_the_own_one_keeps_what_is_not_declared_any_more(tmp_path: Path) -> None:
    async with scheduled(tmp_path, Catalog.of_jobs(tick, nightly, noop)) as it:
        parts, now = it.kit.engine.parts, it.kit.clock.at
        for name, stopping in (("b", True), (parts.node, False)):
            await parts.nodes.beat(
                NodeState(
                    name=name,
                    version="1",
                    started_at=now,
                    seen_at=now,
                    serves=True,
                    jobs=("nightly",),
                    stopping=stopping,
                )
            )
        await _declare_anew(it, Catalog.of_jobs(tick, _whenever_asked()).jobs)
        assert [found.name for found in await it.kit.engine.schedules.all()] == ["tick"]


async def test_a_new_schedule_has_none_of_the_trouble_of_one_of_its_name_that_was_deleted(tmp_path: Path) -> None:
    async with scheduled(tmp_path) as it:
        schedules = it.kit.engine.schedules
        await it.put()
        schedules.troubles["", "poll"] = "due times wait"
        await schedules.delete("", "poll")
        assert schedules.trouble(await it.put()) is None


async def test_a_thousand_that_are_due_at_once_all_make_their_task(tmp_path: Path) -> None:
    async with scheduled(tmp_path, schedulers=2) as it:
        names = [f"s{n}" for n in range(1000)]
        for name in names:
            await it.put(name)
        await it.set_on(60)
        await until(lambda: it.kit.engine.stats.submitted["noop"] >= len(names))
        for name in names:
            await it.acted(name)
        found = await it.kit.store.find(ALL, Filter(limit=5000))
        assert sorted(task.tags["schedule"] for task in found) == sorted(names)


def _every_hour() -> object:
    @job(name="tick", every="1h")
    def tick() -> None: ...

    return tick


def _whenever_asked() -> object:
    @job(name="nightly")
    def nightly() -> None: ...

    return nightly


async def _declare_anew(it: Scheduled, jobs: Mapping[str, object], source: str = "jobs.py") -> None:
    """Start again with other code."""
    parts = it.kit.engine.parts
    kept = parts.catalog
    object.__setattr__(parts, "catalog", Catalog(jobs=jobs))  # type: ignore[arg-type]
    await it.kit.engine.schedules.declare(source)
    object.__setattr__(parts, "catalog", kept)


async def _is_gone(it: Scheduled, name: str) -> bool:
    return name not in [found.name for found in await it.kit.engine.schedules.all()]


async def _count(it: Scheduled, name: str, count: int) -> bool:
    return len(await it.tasks(name)) == count


async def _is_near(it: Scheduled, name: str) -> bool:
    next_at = (await it.get(name)).next_at
    return next_at is not None and next_at < it.kit.clock.at + 86_400
