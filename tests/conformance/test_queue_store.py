"""What every store promises about queues."""

import msgspec
import pytest

from offload.core.task import FileRef
from offload.core.transitions import Event
from offload.ports import Note
from tests.conformance.making import NOW, OpenStore, add, claim, claimed, created, move, stored


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


async def test_files_that_come_later_count_in_what_their_queue_and_their_owner_hold(open_store: OpenStore) -> None:
    asked = FileRef(blob="t/1/in/0", name="", type="", size=0, field="image", url="https://example.com/cat.jpg")
    here = FileRef(blob="t/1/in/0-1", name="cat.jpg", type="image/jpeg", size=500, field="image")
    async with open_store() as store:
        task = await claimed(store, files=(asked,), input_bytes=20, owner="ann")
        foreign = msgspec.structs.replace(task, node="other")
        notes = [Note(task=each, files=(here,), grown_bytes=500) for each in (task, foreign)]
        assert await store.note(notes) == [True, False]
        assert (await stored(store, task)).input_bytes == 520
        assert [depth.bytes for depth in await store.depths()] == [520]
        assert await store.keys.stored_bytes("ann") == 520
        again = await move(store, task, Event.RETRY, run_at=NOW)
        assert again.input_bytes == 520
        assert [depth.bytes for depth in await store.depths()] == [520]
        (task,) = await claim(store, limit=1, now=NOW + 60)
        await move(store, task, Event.SUCCEED)
        assert sum(depth.bytes for depth in await store.depths()) == 0
