"""What every store promises about callbacks: they come in with their tasks, and are taken, settled and told of."""

from typing import Any

import msgspec

from offload.conformance.making import NOW, add, claim, claimed, done, move, stored
from offload.conformance.places import OpenStore
from offload.core.callback import Delivery, DeliveryState, Try, after_try, delivery_of
from offload.core.signing import Secret
from offload.core.task import ALL, Callback, Progress, Reason, Scope, Task
from offload.core.transitions import Event, Facts, decide
from offload.ports import Note, Retention
from offload.ports.callbacks import DeliveryFilter, Lines, Settlement, Standing, Taken
from offload.ports.store import Store

CHECKS = ("store",)
NEEDS = ("deliveries",)

ROOM = Lines(room={Standing.WORKS: 50, Standing.NEW: 50, Standing.FAILING: 50})
END = NOW + 1
"""When `making.done` ends a task."""


def wants(url: str = "https://a.example/hook", *events: str, body: str = "event") -> Callback:
    return msgspec.convert({"url": url, "events": events or ("done", "failed", "canceled"), "body": body}, Callback)


async def told(store: Store, url: str = "https://a.example/hook", at: float = END, **fields: Any) -> Task:
    """Return a DONE task whose callback waits."""
    return await done(store, finished_at=at, callback=wants(url), **fields)


async def take(store: Store, now: float = END, lines: Lines = ROOM) -> list[Taken]:
    return await store.deliveries.claim(lines, now=now, lease_until=now + 60)


async def pending(store: Store) -> list[Delivery]:
    return await store.deliveries.find(ALL, DeliveryFilter(state=DeliveryState.PENDING))


def tried(taken: Taken, status: int, at: float = END) -> Settlement:
    after = after_try(taken.delivery, Try(at=at, latency_seconds=0.5, status_code=status), chance=0.0)
    return Settlement(before=taken.delivery, after=after, worked=200 <= status < 300)


async def settle(store: Store, taken: Taken, status: int, at: float = END) -> bool:
    (written,) = await store.deliveries.settle([tried(taken, status, at)])
    return written


async def test_a_task_keeps_its_callback(open_store: OpenStore) -> None:
    async with open_store() as store:
        callback = wants("https://a.example/?x=ä", "started", body="result")
        task = await add(store, callback=callback)
        assert (await stored(store, task)).callback == callback
        (running,) = await claim(store)
        assert running.callback == callback


async def test_a_delivery_commits_with_the_change_that_it_tells(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await told(store, owner="ann")
        (found,) = await pending(store)
        assert found.id == f"msg_{task.id.replace('-', '')}_{task.version}"
        assert (found.task_id, found.owner, found.type, found.host) == (task.id, "ann", "task.done", "a.example:443")
        assert (found.told.status, found.told.attempt, found.due_at) == (task.status, 1, END)


async def test_a_change_that_is_not_written_tells_nothing(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store, callback=wants())
        late = decide(task, Event.FAIL, Facts(now=END, reason=Reason.ERROR))
        await move(store, task, Event.SUCCEED, result=b"1")
        assert await store.apply([late]) == [False]
        assert [each.type for each in await pending(store)] == ["task.done"]


async def test_a_start_is_told_when_it_is_wanted(open_store: OpenStore) -> None:
    async with open_store() as store:
        await claimed(store, callback=wants("https://a.example/", "started", "done"))
        await claimed(store, callback=wants("https://a.example/", "done"))
        assert [each.type for each in await pending(store)] == ["task.started"]


async def test_of_a_tasks_progress_one_delivery_waits(open_store: OpenStore) -> None:
    async with open_store() as store:
        callback = wants("https://a.example/", "progress")
        task = await claimed(store, callback=callback)
        for at in (NOW, NOW + 0.1, NOW + 0.2):
            delivery = delivery_of(task, callback, "progress", at)
            note = Note(task=task, progress=Progress(fraction=at - NOW), deliveries=(delivery,))
            assert await store.note([note]) == [True]
        (first,) = await pending(store)
        assert await take(store, NOW) == []
        (taken,) = await take(store, first.due_at)
        note = Note(task=task, deliveries=(delivery_of(task, callback, "progress", NOW + 2),))
        assert await store.note([note, note]) == [True, True]
        assert await settle(store, taken, 204)
        assert [each.state for each in await store.deliveries.find(ALL, DeliveryFilter())] == ["PENDING", "DELIVERED"]
        await store.note([Note(task=task, deliveries=(delivery_of(task, callback, "progress", NOW + 3),))])
        (second,) = await store.deliveries.find(ALL, DeliveryFilter())
        assert second.id != first.id


async def test_what_was_taken_is_not_taken_again_before_its_lease_ends(open_store: OpenStore) -> None:
    async with open_store() as store:
        await told(store)
        (first,) = await take(store)
        assert (first.delivery.tries, first.delivery.lease_until) == (1, END + 60)
        assert await take(store, END + 59) == []
        (again,) = await take(store, END + 60)
        assert (again.delivery.id, again.delivery.tries) == (first.delivery.id, 2)
        assert not await settle(store, first, 200)
        assert await settle(store, again, 200)
        assert not await settle(store, again, 200)


async def test_nothing_is_taken_before_it_is_due(open_store: OpenStore) -> None:
    async with open_store() as store:
        await told(store)
        (taken,) = await take(store)
        assert await settle(store, taken, 500)
        (waiting,) = await pending(store)
        assert (waiting.step, waiting.due_at, waiting.lease_until) == (1, END + 5.5, None)
        assert waiting.last == Try(at=END, latency_seconds=0.5, status_code=500)
        assert await take(store, END + 5.4) == []
        assert [each.delivery.id for each in await take(store, END + 5.5)] == [waiting.id]


async def test_a_host_gets_one_at_a_time_until_it_has_worked_and_then_more(open_store: OpenStore) -> None:
    async with open_store() as store:
        for _ in range(6):
            await told(store)
        (first,) = await take(store)
        assert first.standing is Standing.NEW
        assert await take(store, END, Lines(room=ROOM.room, busy={"a.example:443": 1})) == []
        await settle(store, first, 200)
        assert len(await take(store, END, Lines(room=ROOM.room, busy={"a.example:443": 1}, host_max=4))) == 3


async def test_a_host_that_fails_goes_back_to_one_at_a_time(open_store: OpenStore) -> None:
    async with open_store() as store:
        for _ in range(9):
            await told(store)
        (first,) = await take(store)
        await settle(store, first, 200)
        batch = await take(store, END, Lines(room=ROOM.room, host_max=4))
        assert {each.standing for each in batch} == {Standing.WORKS}
        assert await store.deliveries.failing_hosts() == 0
        for each in batch:
            await settle(store, each, 500)
        assert await store.deliveries.failing_hosts() == 1
        (next_one,) = await take(store)
        assert next_one.standing is Standing.FAILING
        await settle(store, next_one, 200)
        assert await store.deliveries.failing_hosts() == 0


async def test_hosts_take_turns_however_much_waits_for_each(open_store: OpenStore) -> None:
    async with open_store() as store:
        for i in range(20):
            await told(store, "https://big.example/", at=NOW + i / 100)
        await told(store, "https://small.example/", at=NOW + 0.5)
        one = Lines(room={Standing.NEW: 1})
        assert [each.delivery.host for _ in range(2) for each in await take(store, END, one)] == [
            "big.example:443",
            "small.example:443",
        ]


async def test_failing_hosts_have_a_room_of_their_own(open_store: OpenStore) -> None:
    async with open_store() as store:
        for host in ("a", "b"):
            await told(store, f"https://{host}.example/")
            await told(store, f"https://{host}.example/")
        for each in await take(store):
            await settle(store, each, 500 if each.delivery.host.startswith("a") else 200)
        await told(store, "https://new.example/")
        for standing, host in ((Standing.WORKS, "b"), (Standing.NEW, "new"), (Standing.FAILING, "a")):
            taken = await take(store, END, Lines(room={standing: 9}))
            assert [each.delivery.host for each in taken] == [f"{host}.example:443"], standing


async def test_the_next_due_time_is_told(open_store: OpenStore) -> None:
    async with open_store() as store:
        assert await store.deliveries.next_due(NOW) is None
        await told(store)
        assert await store.deliveries.next_due(NOW) == END
        (taken,) = await take(store)
        assert await store.deliveries.next_due(END) == END + 60
        await settle(store, taken, 500)
        assert await store.deliveries.next_due(END) == END + 5.5
        (taken,) = await take(store, END + 5.5)
        await settle(store, taken, 200)
        assert await store.deliveries.next_due(END) is None


async def test_a_delivery_can_be_replayed_with_a_whole_schedule(open_store: OpenStore) -> None:
    async with open_store() as store:
        await told(store, owner="ann")
        (taken,) = await take(store)
        busy = await store.deliveries.replay(ALL, taken.delivery.id, now=END)
        assert busy == taken.delivery
        await settle(store, taken, 410)
        assert await store.deliveries.replay(Scope(owner="bob"), taken.delivery.id, now=END + 9) is None
        assert await store.deliveries.replay(ALL, "msg_none", now=END) is None
        again = await store.deliveries.replay(Scope(owner="ann"), taken.delivery.id, now=END + 9)
        assert again is not None
        assert (again.state, again.step, again.tries, again.due_at) == (DeliveryState.PENDING, 0, 1, END + 9)
        (second,) = await take(store, END + 9)
        assert second.delivery.tries == 2


async def test_deliveries_are_found_newest_first_by_task_and_state(open_store: OpenStore) -> None:
    async with open_store() as store:
        mine = await told(store, owner="ann")
        other = await told(store, owner="bob")
        (taken,) = [each for each in await take(store) if each.delivery.owner == "ann"]
        await settle(store, taken, 204)

        async def found(scope: Scope = ALL, **wanted: Any) -> list[str]:
            return [each.task_id for each in await store.deliveries.find(scope, DeliveryFilter(**wanted))]

        assert await found() == [other.id, mine.id]
        assert await found(limit=1) == [other.id]
        assert await found(task_id=mine.id) == [mine.id]
        assert await found(task_id=mine.id, state=DeliveryState.PENDING) == []
        assert await found(state=DeliveryState.DELIVERED) == [mine.id]
        assert await found(Scope(owner="bob")) == [other.id]
        assert await found(Scope(owner="bob"), task_id=mine.id) == []
        (newest, _) = await store.deliveries.find(ALL, DeliveryFilter())
        assert await found(before_key=newest.key) == [mine.id]


async def test_deliveries_go_with_the_row_of_their_task(open_store: OpenStore) -> None:
    async with open_store() as store:
        await told(store)
        await add(store)
        for audit_seconds, left in ((100.0, 1), (1.0, 0)):
            await store.purge(Retention(now=END + 10, audit_seconds=audit_seconds, key_seconds=1.0))
            assert len(await store.deliveries.find(ALL, DeliveryFilter())) == left
        assert await take(store, END + 10) == []


async def test_a_deleted_task_is_still_told_of(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await told(store)
        await move(store, task, Event.DELETE)
        assert (await stored(store, task)).callback is None
        assert [each.delivery.type for each in await take(store)] == ["task.done"]


async def test_the_bell_rings_when_deliveries_were_committed(open_store: OpenStore) -> None:
    async with open_store() as store:
        rung: list[int] = []
        store.deliveries.listen(lambda: rung.append(1))
        await done(store)
        await store.purge(Retention(now=NOW, audit_seconds=1.0, key_seconds=1.0))
        assert not rung
        await told(store)
        await store.purge(Retention(now=NOW, audit_seconds=1.0, key_seconds=1.0))  # the loop has turned meanwhile
        assert rung


async def test_an_owner_has_one_secret_and_the_one_before_while_it_rotates(open_store: OpenStore) -> None:
    async with open_store() as store:
        deliveries = store.deliveries
        first, second, third = (Secret(owner="ann", text=f"whsec_{i}", created_at=NOW + i) for i in range(3))
        assert await deliveries.secrets("ann") == []
        await deliveries.add_secret(first)
        await deliveries.add_secret(second)
        assert await deliveries.secrets("ann") == [first]
        await deliveries.rotate_secret(second, until=NOW + 60)
        await deliveries.rotate_secret(third, until=NOW + 90)
        assert await deliveries.secrets("ann") == [third, msgspec.structs.replace(second, until=NOW + 90)]
        assert await deliveries.secrets("bob") == []
