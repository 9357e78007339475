"""The nodes of a store in memory, or of a file that one process owns."""

from collections.abc import Callable

from offload.core.task import Seconds
from offload.ports.nodes import NodeState


class MemoryNodes:
    """Keep the promises of NodeStore for nodes of this process."""

    def __init__(self, now: Callable[[], Seconds] | None = None) -> None:
        self._found: dict[str, NodeState] = {}
        self._now = now

    async def beat(self, node: NodeState) -> None:
        self._found[node.name] = node

    async def all(self) -> list[NodeState]:
        return [self._found[name] for name in sorted(self._found)]

    async def forget(self, *, seen_before: Seconds) -> int:
        gone = [name for name, node in self._found.items() if node.seen_at < seen_before]
        for name in gone:
            del self._found[name]
        return len(gone)

    async def leave(self, name: str) -> None:
        self._found.pop(name, None)

    async def now(self) -> Seconds | None:
        return None if self._now is None else self._now()
