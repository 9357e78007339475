"""What every store promises about being opened again: what a call that returned has written is there."""

import msgspec

from offload.conformance.making import LEASE, NOW, add, claim, done, queued, stored
from offload.conformance.places import OpenStore
from offload.conformance.test_file_store import loose
from offload.core.task import ALL, Task
from offload.ports import Filter

CHECKS = ("store",)


async def test_a_new_place_holds_nothing_of_another(open_store: OpenStore, open_empty_store: OpenStore) -> None:
    async with open_store() as store:
        await add(store)
        await store.set_paused("images", True)
    async with open_empty_store() as store:
        assert await store.find(ALL, Filter()) == []
        assert (await store.depths(), await store.paused()) == ([], frozenset())


async def test_what_was_written_is_there_when_the_store_is_opened_again(open_store: OpenStore) -> None:
    file = loose()
    async with open_store() as store:
        ended = await done(store, tags={"a": "b"})
        first = await add(store, queued(key="k", fingerprint="a"))
        late = await add(store, run_at=NOW + 60)
        (running,) = await claim(store, limit=1)
        await store.set_paused("images", True)
        await store.add_file(file)
        depths, events = await store.depths(), await store.events(ALL, ended.id)
    async with open_store() as store:
        assert running.id == first.id
        found = [_whatever_the_lease(task) for task in await store.find(ALL, Filter())]
        assert found == [late, running, ended]
        assert (await store.depths(), await store.events(ALL, ended.id)) == (depths, events)
        assert (await store.paused(), await store.get_file(ALL, file.id)) == (frozenset({"images"}), file)
        (again,) = await store.add([queued(key="k", fingerprint="a")])
        assert (again.fresh, _whatever_the_lease(again.task)) == (False, running)
        assert (await add(store)).key > late.key
        assert running.id not in [task.id for task in await claim(store, now=NOW + 60)]
        assert _whatever_the_lease(await stored(store, running)) == running


def _whatever_the_lease(task: Task) -> Task:
    """A store of one process may end the leases of the one before when it is opened."""
    return task if task.lease_until is None else msgspec.structs.replace(task, lease_until=LEASE)
