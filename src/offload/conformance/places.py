"""Where a test has an adapter open what it keeps, and what the functions look like that open it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from offload.ports import Blobs
from offload.ports.bell import Bell
from offload.ports.broker import Broker
from offload.ports.nodes import NodeStore
from offload.ports.store import Store


@dataclass(frozen=True, kw_only=True)
class Place:
    """Something of its own for one test: what was opened there before is found again, and nothing else is."""

    folder: Path
    """An empty directory, for adapters that keep files."""
    name: str
    """`offload_` and letters and digits that no other place has, for a database, a bucket, a prefix of queues."""

    @classmethod
    def new(cls, above: Path) -> "Place":
        name = f"offload_{uuid4().hex[:12]}"
        folder = above / name
        folder.mkdir(mode=0o700)
        return cls(folder=folder, name=name)


@dataclass(frozen=True, kw_only=True)
class BlobPlace:
    """Blobs that are not started, and what can be told of them past their adapter."""

    blobs: Blobs
    left: Callable[[], list[str]] | None = None
    """Name whatever is there: blobs, and what could become one; None: only what the adapter names is looked at."""
    age: Callable[[str], None] | None = None
    """Make everything below a prefix look as if it were old; None: only the store has a say in that."""
    sweeps_at_start: bool = False
    """What a crash left unfinished is gone when `start` returns; False: the store itself removes it some time."""


StoreFactory = Callable[[Place], AbstractAsyncContextManager[Store]]
"""Opens the store at a place, and closes it."""
BrokerFactory = Callable[[Place, str], Broker]
"""Makes one node's end of the broker at a place, not started; the second argument is the name of the node."""
BlobsFactory = Callable[[Place], Blobs | BlobPlace]
"""Makes the blobs at a place, not started."""
BellFactory = Callable[[Place, str], Bell]
"""Makes one node's bell of the store at a place, not started; the second argument is the name of the node."""

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]
OpenNodes = Callable[[], AbstractAsyncContextManager[NodeStore]]
OpenBroker = Callable[[str], AbstractAsyncContextManager[Broker]]
MakeBroker = Callable[[str], Broker]
MakeBell = Callable[[str], Bell]
"""What tests are given: the same, at the place of the test."""
