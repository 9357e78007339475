"""What every store promises about queues."""

import pytest

from offload.conformance.making import NOW, add, claim, created
from offload.conformance.places import OpenStore

CHECKS = ("store",)


async def test_a_queue_is_paused_until_it_is_resumed(open_store: OpenStore) -> None:
    async with open_store() as store:
        assert await store.paused() == frozenset()
        for _ in range(2):
            await store.set_paused("images", True)
            await store.set_paused("mail", True)
            assert await store.paused() == {"images", "mail"}
        await store.set_paused("images", False)
        await store.set_paused("never paused", False)
        assert await store.paused() == {"mail"}


async def test_the_position_is_the_number_of_due_tasks_that_run_before(open_store: OpenStore) -> None:
    async with open_store() as store:
        first = await add(store)
        await add(store, job="other", priority=2)
        await add(store, queue="mail")
        await add(store, run_at=NOW + 60, priority=100)
        last, low = await add(store), await add(store, priority=-3)
        assert [await store.position(task, most=10) for task in (first, last, low)] == [1, 2, 3]


async def test_a_position_beyond_the_most_is_not_counted(open_store: OpenStore) -> None:
    async with open_store() as store:
        for i in range(6):
            last = await add(store, job=f"job-{i % 2}")
        assert [await store.position(last, most=most) for most in (4, 5, 6)] == [None, 5, 5]


async def test_the_position_shrinks_as_others_are_claimed(open_store: OpenStore) -> None:
    async with open_store() as store:
        for _ in range(3):
            last = await add(store)
        await claim(store, limit=2)
        assert await store.position(last, most=10) == 0


@pytest.mark.parametrize("waits", [False, True])
async def test_only_a_queued_task_has_a_position(open_store: OpenStore, waits: bool) -> None:
    async with open_store() as store:
        task = await add(store) if waits else created()
        assert await store.position(task, most=10) == (0 if waits else None)
