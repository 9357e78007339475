"""Adapters as somebody else would write them: one set that keeps every promise, and some that break one each."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from offload.bells import MemoryBell, Tower
from offload.blobs.local import LocalBlobs
from offload.brokers.memory import MemoryBroker, MemoryBus
from offload.conformance import BlobPlace, Place
from offload.core.task import Task
from offload.core.transitions import Event, Facts, decide
from offload.ports import Added, Ask, BlobWriter, NewTask
from offload.ports.broker import Token
from offload.stores.memory import MemoryStore
from offload.stores.memory_nodes import MemoryNodes

SAME = Place(folder=Path("."), name="same")
BUSES: dict[str, MemoryBus] = {}
TOWERS: dict[str, Tower] = {}


class Whole(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.nodes = MemoryNodes()


class LosesTasks(MemoryStore):
    """Says of every third task that it is there, and keeps it nowhere."""

    added = 0

    async def add(self, new: Sequence[NewTask]) -> list[Added]:
        answers: list[Added] = []
        for one in new:
            self.added += 1
            answers += await (super().add([one]) if self.added % 3 else MemoryStore().add([one]))
        return answers


class ClaimsTwice(MemoryStore):
    """Gives out tasks that the next claim gets as well."""

    async def claim(self, asks: Sequence[Ask], *, node: str, now: float, lease_until: float) -> list[Task]:
        taken = await super().claim(asks, node=node, now=now, lease_until=lease_until)
        await self.apply([decide(task, Event.RELEASE, Facts(now=now)) for task in taken])
        return taken


class LastComeFirstServed(MemoryStore):
    async def claim(self, asks: Sequence[Ask], *, node: str, now: float, lease_until: float) -> list[Task]:
        return (await super().claim(asks, node=node, now=now, lease_until=lease_until))[::-1]


class ForgetsKeys(MemoryStore):
    async def add(self, new: Sequence[NewTask]) -> list[Added]:
        return await super().add([msgspec.structs.replace(one, idempotency_key=None) for one in new])


class Unfinished:
    """Has the calls of a store of tasks, but for some."""

    async def add(self, new: Sequence[NewTask]) -> list[Added]:
        return []

    async def apply(self, changes: Sequence[Any], really: bool) -> list[bool]:
        return []


class Raises(MemoryBroker):
    async def acknowledge(self, tokens: Sequence[Token]) -> None:
        raise ConnectionResetError("the peer is gone")


class EagerWriter:
    """Shows what was written under its name at once."""

    def __init__(self, make: Callable[[], BlobWriter]) -> None:
        self._make = make
        self._data = b""

    async def write(self, chunk: bytes) -> None:
        self._data += chunk
        await self.commit()

    async def commit(self) -> tuple[int, str]:
        writer = self._make()
        await writer.write(self._data)
        await writer.commit()
        return len(self._data), hashlib.sha256(self._data).hexdigest()

    async def abort(self) -> None:
        return


class KeepsHalves:
    """A directory, but for its writers."""

    def __init__(self, blobs: LocalBlobs) -> None:
        self._blobs = blobs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    def writer(self, name: str, *, bytes_max: int) -> EagerWriter:
        return EagerWriter(lambda: self._blobs.writer(name, bytes_max=bytes_max))


def store(kind: type) -> Callable[[Place], AbstractAsyncContextManager[Any]]:
    """Return what opens stores of a kind: one for each place."""
    opened: dict[str, Any] = {}

    @asynccontextmanager
    async def at(place: Place) -> AsyncIterator[Any]:
        yield opened.setdefault(place.name, kind())

    return at


whole = store(Whole)
loses_tasks = store(LosesTasks)
claims_twice = store(ClaimsTwice)
last_come_first_served = store(LastComeFirstServed)
forgets_keys = store(ForgetsKeys)
unfinished = store(Unfinished)
for_one_node = store(MemoryStore)


@asynccontextmanager
async def forgets_all(place: Place) -> AsyncIterator[MemoryStore]:
    yield MemoryStore()


def same_for_all(place: Place) -> AbstractAsyncContextManager[Any]:
    return whole(SAME)


async def coroutine(place: Place) -> MemoryStore:
    return MemoryStore()


@asynccontextmanager
async def away(place: Place) -> AsyncIterator[MemoryStore]:
    if place.folder.exists():
        raise ConnectionRefusedError("nobody listens there")
    yield MemoryStore()


def broker(place: Place, node: str) -> MemoryBroker:
    return MemoryBroker(BUSES.setdefault(place.name, MemoryBus()), wait_seconds=0.2)


def raises(place: Place, node: str) -> MemoryBroker:
    return Raises(BUSES.setdefault(place.name, MemoryBus()), wait_seconds=0.2)


def bell(place: Place, node: str) -> MemoryBell:
    return TOWERS.setdefault(place.name, Tower()).bell()


def blobs(place: Place) -> LocalBlobs:
    return LocalBlobs(place.folder / "blobs")


def looked_at(place: Place) -> BlobPlace:
    """Tell past the adapter what is there."""
    root = place.folder / "blobs"
    return BlobPlace(
        blobs=LocalBlobs(root),
        left=lambda: sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()),
        sweeps_at_start=True,
    )


def keeps_halves(place: Place) -> KeepsHalves:
    return KeepsHalves(blobs(place))


NO_FUNCTION = {"whole": whole}
