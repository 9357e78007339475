"""Every broker with every store: tokens make it quick, and whatever happens to them nothing is lost or done twice."""

from pathlib import Path

from offload.conformance.faulty_broker import Faulty
from offload.conformance.fleet import connected, fleet
from offload.conformance.places import MakeBroker, OpenStore

CHECKS = ("store", "broker")
NEEDS = ("deliveries", "history", "schedules")


async def test_tokens_alone_bring_every_task_to_a_free_place(
    make_broker: MakeBroker, open_store: OpenStore, tmp_path: Path
) -> None:
    async with open_store() as store, fleet(tmp_path, store, make_broker) as nodes:
        await connected(nodes)
        ids = await nodes.submit(30) + await nodes.submit(10, job="large")
        await nodes.done(ids, seconds=20)
        assert nodes.ran_once(ids)


async def test_each_token_three_times_runs_nothing_twice(
    make_broker: MakeBroker, open_store: OpenStore, tmp_path: Path
) -> None:
    faulty = Faulty(make_broker)
    async with open_store() as store, fleet(tmp_path, store, faulty) as nodes:
        await connected(nodes)
        faulty.set(copies=3)
        ids = await nodes.submit(40)
        await nodes.done(ids, seconds=20)
        assert nodes.ran_once(ids)
