"""What every store promises about claims that want the tasks of one owner only."""

from offload.conformance.making import LEASE, NODE, NOW, add, claim
from offload.conformance.places import OpenStore
from offload.ports import Ask

CHECKS = ("store",)


async def test_a_claim_for_an_owner_takes_only_theirs_in_line_order(open_store: OpenStore) -> None:
    async with open_store() as store:
        anna = [await add(store, owner="anna", priority=i, job=job) for i, job in enumerate(("a", "b", "a"))]
        bert = await add(store, owner="bert", priority=9, job="a")
        nobodys = await add(store, priority=9, job="b")
        await add(store, owner="anna", priority=9, deadline_at=NOW - 1, job="a")
        of_anna = Ask(queue="images", jobs=("a", "b"), limit=2, owner="anna")
        of_nobody = Ask(queue="images", jobs=("a", "b"), limit=9, owner="")
        taken = await store.claim([of_anna, of_nobody], node=NODE, now=NOW, lease_until=LEASE)
        assert [task.id for task in taken] == [anna[2].id, anna[1].id, nobodys.id]
        assert [task.id for task in await store.claim([of_anna], node=NODE, now=NOW, lease_until=LEASE)] == [anna[0].id]
        assert await store.claim([of_anna], node=NODE, now=NOW, lease_until=LEASE) == []
        (rest,) = await claim(store, "a", limit=9)
        assert rest.id == bert.id
