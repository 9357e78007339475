"""What every store promises about schedules: a due time is acted on once, with its tasks or not at all."""

import asyncio

import msgspec
import pytest

from offload.conformance.making import NOW, queued
from offload.conformance.places import OpenStore
from offload.core.errors import TaskAlreadyExists
from offload.core.recurrence import Recurrence
from offload.core.schedule import Definition, Schedule, new_schedule
from offload.core.task import ALL, Callback, Scope
from offload.ports import Filter
from offload.ports.schedules import Firing
from offload.ports.store import Store

CHECKS = ("store",)
NEEDS = ("schedules",)


def schedule(name: str = "nightly", *, owner: str = "", job: str = "resize", **fields: object) -> Schedule:
    what = Definition(job=job, recurrence=Recurrence(every_seconds=60.0))
    return msgspec.structs.replace(new_schedule(name, owner, what, NOW), **fields)


def later(before: Schedule, **fields: object) -> Schedule:
    assert before.next_at is not None
    given = {"next_at": before.next_at + 60, "version": before.version + 1, **fields}
    return msgspec.structs.replace(before, **given)


async def put(store: Store, *schedules: Schedule) -> None:
    for each in schedules:
        assert await store.schedules.put(each, version=0)


async def names(store: Store, jobs: tuple[str, ...], **asked: object) -> list[str]:
    given = {"now": NOW + 60, "limit": 100, **asked}
    return [found.name for found in await store.schedules.due(jobs, **given)]  # type: ignore[arg-type]


async def test_a_schedule_comes_back_whole(open_store: OpenStore) -> None:
    async with open_store() as store:
        what = Definition(
            job="resize",
            recurrence=Recurrence(cron="0 2 * * *", timezone="Europe/Berlin"),
            catch_up="all",
            input='{"title":"é"}'.encode(),
            priority=-3,
            tags={"a": "b"},
            callback=Callback(url="https://example.com/", events=("failed",)),
            deadline_seconds=5.0,
        )
        full = msgspec.structs.replace(
            new_schedule("nightly", "anna", what, NOW), key_id="k", declared_in="jobs", last_at=NOW, last_task="t"
        )
        await put(store, full)
        assert await store.schedules.get("anna", "nightly") == full
        assert await store.schedules.get("", "nightly") is None
        assert await store.schedules.get("anna", "daily") is None


async def test_of_two_who_write_one_is_told_that_it_came_too_late(open_store: OpenStore) -> None:
    async with open_store() as store:
        first, other = schedule(), schedule()
        await put(store, first)
        assert not await store.schedules.put(other, version=0)
        second = later(first)
        assert await store.schedules.put(second, version=first.version)
        assert not await store.schedules.put(later(first, missed=3), version=first.version)
        assert await store.schedules.get("", "nightly") == second
        assert not await store.schedules.put(later(schedule("daily")), version=1)
        # another one under the name is another one, whatever its version
        assert await store.schedules.delete("", "nightly")
        await put(store, other)
        assert not await store.schedules.put(later(first), version=other.version)


async def test_schedules_are_found_by_name_page_by_page_and_each_owner_sees_their_own(open_store: OpenStore) -> None:
    async with open_store() as store:
        await put(store, *(schedule(name, owner=owner) for name in "cab" for owner in ("bert", "anna", "")))
        everything = await store.schedules.find(ALL)
        places = [(found.name, found.owner) for found in everything]
        assert places == sorted(places) and len(places) == 9
        assert [found.name for found in await store.schedules.find(Scope(owner="anna"))] == ["a", "b", "c"]
        page = await store.schedules.find(ALL, after=("a", "anna"), limit=3)
        assert [(found.name, found.owner) for found in page] == [("a", "bert"), ("b", ""), ("b", "anna")]
        for owner, after, expected in (
            ("bert", ("a", "anna"), "abc"),
            ("anna", ("a", "anna"), "bc"),
            ("", ("b", ""), "c"),
        ):
            found = await store.schedules.find(Scope(owner=owner), after=after)
            assert "".join(each.name for each in found) == expected
        assert len(await store.schedules.find(Scope(owner="bert"), after=("a", "anna"), limit=2)) == 2


async def test_a_deleted_schedule_is_gone_and_cannot_fire(open_store: OpenStore) -> None:
    async with open_store() as store:
        gone = schedule()
        await put(store, gone, schedule(owner="anna"))
        assert await store.schedules.delete("", "nightly")
        assert not await store.schedules.delete("", "nightly")
        assert await store.schedules.fire(Firing(before=gone, after=later(gone), new=(queued(),))) is None
        assert await store.find(ALL, Filter()) == []
        assert await store.schedules.get("anna", "nightly") is not None


async def test_those_are_due_whose_time_has_come_and_whose_job_is_known(open_store: OpenStore) -> None:
    async with open_store() as store:
        await put(
            store,
            schedule("d", next_at=NOW + 60),
            schedule("b", next_at=NOW + 50),
            schedule("c", next_at=NOW + 50, owner="anna"),
            schedule("c", next_at=NOW + 50),
            schedule("later", next_at=NOW + 61),
            schedule("paused", next_at=None),
            schedule("other", job="sing", next_at=NOW + 10),
        )
        assert await names(store, ("resize",)) == ["b", "c", "c", "d"]
        assert await names(store, ("resize", "sing")) == ["other", "b", "c", "c", "d"]
        assert await names(store, ()) == []
        assert await names(store, ("resize",), limit=2) == ["b", "c"]
        assert await names(store, ("resize",), after=(NOW + 50, "c", "")) == ["c", "d"]
        assert await store.schedules.next_due(("resize",), now=NOW + 60) == NOW + 61
        assert await store.schedules.next_due(("resize",), now=NOW + 61) is None
        assert await store.schedules.next_due(("sing", "resize"), now=NOW) == NOW + 10
        assert await store.schedules.next_due((), now=NOW) is None


async def test_a_firing_adds_its_tasks_and_moves_its_schedule_in_one(open_store: OpenStore) -> None:
    async with open_store() as store:
        before = schedule()
        await put(store, before)
        after = later(before, fired=2, last_task="x")
        new = (queued(tags={"a": "b"}, input_bytes=5), queued(input_bytes=6))
        added = await store.schedules.fire(Firing(before=before, after=after, new=new))
        assert added is not None and [one.fresh for one in added] == [True, True]
        assert [one.task.id for one in added] == [one.task.id for one in new]
        assert await store.schedules.get("", "nightly") == after
        (depth,) = await store.depths()
        assert (depth.queued, depth.ready, depth.bytes) == (2, 2, 11)
        assert len(await store.find(ALL, Filter(tags={"a": "b"}))) == 1
        # what was decided before cannot be done any more
        assert await store.schedules.fire(Firing(before=before, after=after, new=(queued(),))) is None
        assert len(await store.find(ALL, Filter())) == 2
        assert await store.schedules.fire(Firing(before=after, after=later(after))) == []


async def test_a_task_that_a_due_time_made_before_is_the_same_one(open_store: OpenStore) -> None:
    async with open_store() as store:
        before = schedule()
        await put(store, before)
        new = queued(fingerprint="f")
        await store.add([new])
        after = later(before)
        added = await store.schedules.fire(Firing(before=before, after=after, new=(new, queued())))
        assert added is not None and [one.fresh for one in added] == [False, True]
        assert added[0].task.id == new.task.id and added[0].task.key > 0
        assert await store.schedules.get("", "nightly") == after


async def test_a_firing_that_cannot_be_leaves_all_as_it_was(open_store: OpenStore) -> None:
    async with open_store() as store:
        before = schedule()
        await put(store, before)
        new = queued(fingerprint="f")
        await store.add([new])
        stranger = msgspec.structs.replace(new, fingerprint="g")
        with pytest.raises(TaskAlreadyExists):
            await store.schedules.fire(Firing(before=before, after=later(before), new=(queued(), stranger)))
        assert await store.schedules.get("", "nightly") == before
        assert len(await store.find(ALL, Filter())) == 1


async def test_of_many_who_fire_at_once_one_does(open_store: OpenStore) -> None:
    async with open_store() as store:
        before = schedule()
        await put(store, before)
        firings = [Firing(before=before, after=later(before, last_task=str(n)), new=(queued(),)) for n in range(20)]
        fired = await asyncio.gather(*(store.schedules.fire(firing) for firing in firings))
        (winner,) = (n for n, added in enumerate(fired) if added is not None)
        (task,) = await store.find(ALL, Filter())
        assert task.id == firings[winner].new[0].task.id
        assert await store.schedules.get("", "nightly") == firings[winner].after
