"""The nodes that share a store, and the one time they all go by."""

from typing import Protocol

from offload.core.task import Record, Seconds


class NodeState(Record, frozen=True, kw_only=True):
    """What a node says of itself at every heartbeat; a store keeps it as it is, as JSON for one."""

    name: str
    version: str
    started_at: Seconds
    seen_at: Seconds
    serves: bool
    """It answers HTTP."""
    stopping: bool = False
    jobs: tuple[str, ...] = ()
    """What its workers run; none when it has no workers."""
    queues: tuple[str, ...] = ()
    workers: int = 0
    running: int = 0
    """Attempts that it holds."""
    files_at: str = ""
    """Which files it reads and writes: nodes that say different things do not see each other's."""
    looked_at: Seconds | None = None
    """When it last claimed, or had no place free; None: it has no workers."""
    arrivals_per_second: dict[str, float] = {}
    """By queue: what it accepted lately."""
    completions_per_second: dict[str, float] = {}
    """By queue: what it finished lately."""
    run_seconds: dict[str, Seconds] = {}
    """By job: how long its attempts took lately."""


class NodeStore(Protocol):
    """Who is there. Raises DiskFull or StoreUnavailable."""

    async def beat(self, node: NodeState) -> None:
        """Put down what a node says, in place of what it said before; one statement, and it need not be durable."""

    async def all(self) -> list[NodeState]:
        """Return the nodes that are known, by name."""

    async def forget(self, *, seen_before: Seconds) -> int:
        """Forget the nodes that were not seen since; return how many."""

    async def leave(self, name: str) -> None:
        """Forget one that stopped in good order."""

    async def now(self) -> Seconds | None:
        """Return the store's own time, by which all nodes go; None when this process has the store for itself."""
