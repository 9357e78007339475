"""What every bell between nodes owes while nothing is wrong: what one rings, the others hear."""

import asyncio

from offload.conformance.places import MakeBell
from offload.core.ring import KEYS, QUEUES, Ring, merged

CHECKS = ("bell",)


class Ear:
    """Hears one bell."""

    def __init__(self) -> None:
        self.heard: list[Ring] = []
        self._more = asyncio.Event()

    def __call__(self, ring: Ring) -> None:
        self.heard.append(ring)
        self._more.set()

    async def until(self, wanted: Ring) -> None:
        """Return when all of this was heard, in however many rings."""
        async with asyncio.timeout(20):
            while not _says(merged(self.heard), wanted):
                self._more.clear()
                await self._more.wait()


async def test_what_one_node_rings_all_others_hear(make_bell: MakeBell) -> None:
    one, two, three = (make_bell(f"node-{n}") for n in (1, 2, 3))
    ears = [Ear(), Ear(), Ear()]
    for bell, ear in zip((one, two, three), ears, strict=True):
        await bell.start(ear)
    assert not one.alone
    ring = Ring(
        ready=frozenset([("images", "resize"), ("default", "Übergröße")]),
        due_at=1_800_000_000.5,
        changed=frozenset(f"task-{n:031}" for n in range(1000)),
        stopped=frozenset(["task-1"]),
        topics=frozenset([QUEUES, KEYS]),
    )
    await one.ring(ring)
    await ears[1].until(ring)
    await ears[2].until(ring)
    await two.ring(Ring(topics=frozenset(["from two"])))
    await ears[0].until(Ring(topics=frozenset(["from two"])))
    for bell in (one, two, three):
        await bell.stop()


async def test_a_bell_that_stopped_hears_nothing_and_harms_nobody(make_bell: MakeBell) -> None:
    one, two, three = (make_bell(f"node-{n}") for n in (1, 2, 3))
    ear, gone = Ear(), Ear()
    await one.start(lambda ring: None)
    await two.start(gone)
    await three.start(ear)
    await two.stop()
    before = len(gone.heard)
    await one.ring(Ring(stopped=frozenset(["a"])))
    await ear.until(Ring(stopped=frozenset(["a"])))
    assert len(gone.heard) == before
    await one.stop()
    await three.stop()
    await three.stop()


def _says(heard: Ring, wanted: Ring) -> bool:
    sets = ("ready", "changed", "stopped", "topics")
    return heard.due_at == wanted.due_at and all(getattr(wanted, name) <= getattr(heard, name) for name in sets)
