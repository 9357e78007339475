"""What queues saw lately, in memory: the reference that every other store is compared with."""

from collections.abc import Sequence

from offload.core.history import Sample
from offload.core.task import Seconds


class MemoryHistory:
    """Keep every promise of HistoryStore except durability."""

    def __init__(self) -> None:
        self._found: dict[tuple[Seconds, str, str], Sample] = {}

    async def add(self, samples: Sequence[Sample], *, forget_before: Seconds) -> None:
        self._found.update({(sample.at, sample.node, sample.queue): sample for sample in samples})
        self._found = {key: sample for key, sample in self._found.items() if sample.at >= forget_before}

    async def since(self, at: Seconds) -> list[Sample]:
        return [sample for _, sample in sorted(self._found.items()) if sample.at > at]
