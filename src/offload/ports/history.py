"""The store of what queues saw lately."""

from collections.abc import Sequence
from typing import Protocol

from offload.core.history import Sample
from offload.core.task import Seconds


class HistoryStore(Protocol):
    """A record for people: losing some of it harms nobody. Raises DiskFull or StoreUnavailable."""

    async def add(self, samples: Sequence[Sample], *, forget_before: Seconds) -> None:
        """Keep these, and drop what is older; the same step of the same node and queue is kept once, the newer."""

    async def since(self, at: Seconds) -> list[Sample]:
        """Return every node's samples after `at`, oldest first."""
