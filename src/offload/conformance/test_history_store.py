"""What every store promises about the last hour of its queues."""

from offload.conformance.making import NOW
from offload.conformance.places import OpenStore
from offload.core.history import Sample

CHECKS = ("store",)
NEEDS = ("history",)


def sample(at: float, node: str = "node-1", **fields: int) -> Sample:
    return Sample(at=at, node=node, queue="images", **fields)


async def test_samples_come_back_whole_oldest_first_and_from_every_node(open_store: OpenStore) -> None:
    async with open_store() as store:
        assert await store.history.since(0.0) == []
        full = sample(NOW + 10, arrivals=5, done=4, failed=1, queued=3, running=2)
        await store.history.add([full, sample(NOW)], forget_before=0.0)
        await store.history.add([sample(NOW + 10, "node-2", done=1)], forget_before=0.0)
        assert await store.history.since(0.0) == [sample(NOW), full, sample(NOW + 10, "node-2", done=1)]
        assert await store.history.since(NOW) == [full, sample(NOW + 10, "node-2", done=1)]


async def test_a_step_that_is_told_twice_is_kept_once_the_newer(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.history.add([sample(NOW, done=1)], forget_before=0.0)
        await store.history.add([sample(NOW, done=2)], forget_before=0.0)
        assert await store.history.since(0.0) == [sample(NOW, done=2)]


async def test_what_is_old_is_forgotten(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.history.add([sample(NOW), sample(NOW + 10)], forget_before=0.0)
        await store.history.add([sample(NOW + 20)], forget_before=NOW + 10)
        assert await store.history.since(0.0) == [sample(NOW + 10), sample(NOW + 20)]
