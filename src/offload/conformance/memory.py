"""Adapters in this process's memory: the other half of a pairing of which one half is checked."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from offload.bells import Tower
from offload.brokers.memory import MemoryBroker, MemoryBus
from offload.conformance.places import Place
from offload.ports.bell import Bell
from offload.ports.broker import Broker
from offload.ports.store import Store
from offload.stores.memory import MemoryStore

TAKE_SECONDS = 0.5


class Memory:
    """One store, one bus and one tower for each place, as long as this lives."""

    def __init__(self) -> None:
        self._stores: defaultdict[str, MemoryStore] = defaultdict(MemoryStore)
        self._buses: defaultdict[str, MemoryBus] = defaultdict(MemoryBus)
        self._towers: defaultdict[str, Tower] = defaultdict(Tower)

    @asynccontextmanager
    async def store(self, place: Place) -> AsyncIterator[Store]:
        yield self._stores[place.name]

    def broker(self, place: Place, node: str) -> Broker:
        return MemoryBroker(self._buses[place.name], wait_seconds=TAKE_SECONDS)

    def bell(self, place: Place, node: str) -> Bell:
        return self._towers[place.name].bell()
