"""What every store of nodes owes: the newest word of each node, until it leaves or is forgotten."""

import msgspec

from offload.conformance.places import OpenNodes
from offload.ports.nodes import NodeState

CHECKS = ("store",)
NEEDS = ("nodes",)


def state(name: str, seen_at: float, **more: object) -> NodeState:
    known = NodeState(name=name, version="1.0", started_at=100.0, seen_at=seen_at, serves=True)
    return msgspec.structs.replace(known, **more)


async def test_the_newest_word_of_each_node_is_kept(open_nodes: OpenNodes) -> None:
    async with open_nodes() as nodes:
        assert await nodes.all() == []
        two = state("two", 110.0, serves=False, jobs=("resize", "report"), queues=("images",), workers=3)
        await nodes.beat(two)
        await nodes.beat(state("one", 105.0))
        newer = state(
            "one",
            111.0,
            stopping=True,
            running=2,
            looked_at=110.5,
            completions_per_second={"images": 2.5},
            arrivals_per_second={"images": 3.0},
            run_seconds={"resize": 0.25},
        )
        await nodes.beat(newer)
        assert await nodes.all() == [newer, two]


async def test_nodes_that_leave_or_are_not_seen_are_forgotten(open_nodes: OpenNodes) -> None:
    async with open_nodes() as nodes:
        for name, at in (("one", 100.0), ("two", 200.0), ("three", 300.0)):
            await nodes.beat(state(name, at))
        assert await nodes.forget(seen_before=200.0) == 1
        assert [node.name for node in await nodes.all()] == ["three", "two"]
        await nodes.leave("three")
        await nodes.leave("three")
        assert [node.name for node in await nodes.all()] == ["two"]
