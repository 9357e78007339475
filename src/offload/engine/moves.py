"""What moved of late among the callbacks: which pages that show some have to look again."""

from collections import deque

from offload.core.callback import Delivery
from offload.core.task import Record, Scope

KEPT_MAX = 1_000


class Moved(Record, frozen=True, kw_only=True):
    tasks: frozenset[str] | None
    """Those whose callbacks moved, beside new ones; None: it can be any."""


class Moves:
    """Counts, and keeps the last of what it counted; one per node."""

    def __init__(self) -> None:
        self.number = 0
        """Grows with whatever a list of callbacks would show."""
        self._kept: deque[tuple[int, str, str]] = deque(maxlen=KEPT_MAX)
        self._came_at = 0
        self._unknown_until = 0
        """What moved up to this number is not kept, or never was known."""

    def moved(self, delivery: Delivery) -> None:
        """It was taken, settled, or is to be sent again."""
        self.number += 1
        if len(self._kept) == KEPT_MAX:
            self._unknown_until = self._kept[0][0]
        self._kept.append((self.number, delivery.owner, delivery.task_id))

    def came(self) -> None:
        """Some came in; whoever shows their tasks hears of those anyhow."""
        self.number += 1
        self._came_at = self.number

    def moved_elsewhere(self) -> None:
        """Another node had to do with some."""
        self.number += 1
        self._unknown_until = self.number

    def since(self, number: int, scope: Scope) -> Moved | None:
        """Return what moved after `number`, None when nothing of this scope did."""
        if self._unknown_until > number:
            return Moved(tasks=None)
        tasks = frozenset(
            task_id
            for at, owner, task_id in self._kept
            if at > number and (scope.owner is None or scope.owner == owner)
        )
        return Moved(tasks=tasks) if tasks or self._came_at > number else None
