"""What every store promises about finding tasks, their events, what is overdue and what waits."""

import asyncio

import pytest

from offload.conformance.making import LEASE, NODE, NOW, add, claim, claimed, done, log, move, queued, stored
from offload.conformance.places import OpenStore
from offload.core.task import ALL, Scope, Status, Task
from offload.core.transitions import Event
from offload.ports import Depth, Filter, Note
from offload.ports.store import Store

CHECKS = ("store",)


async def test_tasks_are_found_newest_first_page_by_page(open_store: OpenStore) -> None:
    async with open_store() as store:
        tasks = [await add(store) for _ in range(7)]
        pages: list[list[Task]] = [await store.find(ALL, Filter(limit=3))]
        while pages[-1]:
            pages.append(await store.find(ALL, Filter(limit=3, before_key=pages[-1][-1].key)))
        assert [task for page in pages for task in page] == tasks[::-1]


FILTERS = {
    "job": (Filter(job="send"), "send"),
    "queue": (Filter(queue="mail"), "send"),
    "one status": (Filter(statuses=(Status.DONE,)), "done"),
    "several statuses": (Filter(statuses=(Status.DONE, Status.RUNNING)), "done running"),
    "a status twice": (Filter(statuses=(Status.DONE, Status.DONE)), "done"),
    "statuses and job": (Filter(statuses=(Status.DONE, Status.QUEUED), job="resize"), "done tagged owned"),
    "tag": (Filter(tags={"customer": "42"}), "tagged owned"),
    "tags": (Filter(tags={"customer": "42", "size": "xl"}), "tagged"),
    "tag and status": (Filter(tags={"customer": "42"}, statuses=(Status.QUEUED, Status.DONE)), "tagged owned"),
    "tag of nobody": (Filter(tags={"customer": "43"}), ""),
    "created after": (Filter(created_after=NOW), "owned"),
    "created before": (Filter(created_before=NOW + 1), "done running send tagged"),
    "nothing fits": (Filter(job="send", statuses=(Status.DONE,)), ""),
}


async def _one_of_each(store: Store) -> dict[str, str]:
    tasks = {"done": await done(store), "running": await claimed(store)}
    tasks["send"] = await add(store, job="send", queue="mail")
    tasks["tagged"] = await add(store, tags={"customer": "42", "size": "xl"})
    tasks["owned"] = await add(store, owner="ann", created_at=NOW + 1, tags={"customer": "42", "size": "s"})
    return {task.id: name for name, task in tasks.items()}


@pytest.mark.parametrize("case", FILTERS)
async def test_a_filter_finds_what_it_says(open_store: OpenStore, case: str) -> None:
    wanted, names = FILTERS[case]
    async with open_store() as store:
        name_of = await _one_of_each(store)
        found = await store.find(ALL, wanted)
        assert [name_of[task.id] for task in found] == names.split()[::-1]
        assert found == [await stored(store, task) for task in found]


@pytest.mark.parametrize("case", FILTERS)
async def test_an_owner_finds_only_their_own_tasks(open_store: OpenStore, case: str) -> None:
    wanted, names = FILTERS[case]
    async with open_store() as store:
        name_of = await _one_of_each(store)
        everyone_elses = [name for name in names.split()[::-1] if name != "owned"]
        for owner, expected in (("ann", ["owned"] if "owned" in names else []), ("", everyone_elses), ("bob", [])):
            found = await store.find(Scope(owner=owner), wanted)
            assert [name_of[task.id] for task in found] == expected


async def test_events_are_numbered_without_gaps_and_read_from_anywhere(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store)
        await store.note([Note(task=task, events=(log("a"), log("b"))), Note(task=task, events=(log("c"),))])
        events = await store.events(ALL, task.id)
        assert [event.n for event in events] == [1, 2, 3, 4, 5]
        assert [event.data for event in events[2:]] == [log(text).data for text in "abc"]
        assert await store.events(ALL, task.id, after=2, limit=2) == events[2:4]
        assert await store.events(ALL, task.id, after=5) == []
        assert (await stored(store, task)).event_count == 5


async def test_events_of_a_task_that_is_not_there_are_none(open_store: OpenStore) -> None:
    async with open_store() as store:
        assert await store.events(ALL, "8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34") == []


async def test_ended_leases_and_passed_deadlines_are_overdue_earliest_first(open_store: OpenStore) -> None:
    async with open_store() as store:
        running = await claimed(store)
        late = await add(store, deadline_at=LEASE - 1)
        await add(store, deadline_at=LEASE + 50)
        renewed = await claimed(store, job="other")
        await store.renew([renewed], lease_until=LEASE - 2)
        assert await store.overdue(now=LEASE - 3, limit=9) == []
        ids = [task.id for task in await store.overdue(now=LEASE, limit=9)]
        assert ids == [renewed.id, late.id, running.id]
        assert [task.id for task in await store.overdue(now=LEASE, limit=2)] == ids[:2]
        (first, *_) = await store.overdue(now=LEASE, limit=9)
        assert first == await stored(store, renewed)


async def test_a_task_that_ended_is_not_overdue(open_store: OpenStore) -> None:
    async with open_store() as store:
        await done(store, deadline_at=NOW + 5)
        assert await store.overdue(now=NOW + 1_000, limit=9) == []


async def test_the_next_due_time_is_the_earliest_later_run_at_or_deadline(open_store: OpenStore) -> None:
    async with open_store() as store:
        assert await store.next_due(NOW) is None
        await add(store)
        assert await store.next_due(NOW) is None
        delayed = await add(store, run_at=NOW + 9)
        assert await store.next_due(NOW) == NOW + 9
        await add(store, deadline_at=NOW + 7)
        assert await store.next_due(NOW) == NOW + 7
        assert await store.next_due(NOW + 7) == NOW + 9
        await move(store, delayed, Event.CANCEL)
        assert await store.next_due(NOW + 7) is None


async def test_a_due_task_is_claimed_however_many_of_other_queues_came_due_before_it(open_store: OpenStore) -> None:
    async with open_store() as store:
        for _ in range(10):
            await store.add([queued(queue="mail", job="send", run_at=NOW + 5) for _ in range(250)])
        due = await add(store, run_at=NOW + 6)
        await add(store, run_at=NOW + 9)
        assert await store.next_due(NOW) == NOW + 5
        async with asyncio.timeout(30):
            while (next_at := await store.next_due(NOW + 7)) is not None and next_at <= NOW + 7:
                assert next_at == NOW + 7
                await store.claim([], node=NODE, now=NOW + 7, lease_until=NOW + 37)
        assert next_at == NOW + 9
        assert [task.id for task in await claim(store, now=NOW + 7)] == [due.id]


async def test_depths_count_what_waits_and_runs(open_store: OpenStore) -> None:
    async with open_store() as store:
        assert await store.depths() == []
        first = await add(store, input_bytes=10)
        await add(store, input_bytes=20, now=NOW + 1)
        await add(store, input_bytes=5, run_at=NOW + 60)
        await add(store, queue="mail", job="send", input_bytes=1)
        mail = Depth(queue="mail", job="send", queued=1, ready=1, bytes=1, oldest_at=NOW)
        images = Depth(queue="images", job="resize", queued=3, ready=2, bytes=35, oldest_at=NOW)
        assert await store.depths() == [images, mail]
        (running,) = await claim(store, limit=1)
        assert running.id == first.id
        images = Depth(queue="images", job="resize", queued=2, ready=1, running=1, bytes=35, oldest_at=NOW + 1)
        assert await store.depths() == [images, mail]
        await move(store, running, Event.SUCCEED)
        assert (await store.depths())[0] == Depth(
            queue="images", job="resize", queued=2, ready=1, bytes=25, oldest_at=NOW + 1
        )


async def test_a_delayed_task_counts_as_ready_from_the_claim_that_finds_it_due(open_store: OpenStore) -> None:
    async with open_store() as store:
        await add(store, run_at=NOW + 5)
        (depth,) = await store.depths()
        assert (depth.queued, depth.ready, depth.oldest_at) == (1, 0, None)
        await claim(store, "another", now=NOW + 5)
        (depth,) = await store.depths()
        assert (depth.queued, depth.ready, depth.oldest_at) == (1, 1, NOW + 5)


async def test_a_retried_task_waits_for_its_time(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store)
        await move(store, task, Event.RETRY, now=NOW + 1, run_at=NOW + 11)
        assert [(depth.queued, depth.ready) for depth in await store.depths()] == [(1, 0)]
        assert await claim(store, now=NOW + 10) == []
        assert [taken.attempt for taken in await claim(store, now=NOW + 11)] == [2]
