"""A whole store: what one adapter keeps, port by port."""

from typing import Protocol

from offload.ports import FileStore, QueueStore, TaskStore
from offload.ports.callbacks import DeliveryStore
from offload.ports.history import HistoryStore
from offload.ports.keys import KeyStore
from offload.ports.schedules import ScheduleStore


class Store(TaskStore, QueueStore, FileStore, Protocol):
    """All that a server needs of one store."""

    @property
    def deliveries(self) -> DeliveryStore: ...

    @property
    def keys(self) -> KeyStore: ...

    @property
    def history(self) -> HistoryStore: ...

    @property
    def schedules(self) -> ScheduleStore: ...
