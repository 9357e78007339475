"""What workers elsewhere may still add to the logs of their attempts."""

from collections import OrderedDict

import msgspec

from offload.core.lease import Lease
from offload.core.task import ALL, Task, TaskEvent
from offload.engine.parts import Parts

KNOWN_MAX = 10_000
"""Attempts whose logs are remembered; those of others are counted anew."""
CALL_BYTES_MIN = 64
"""What each call counts for at least: a row in the store costs more than the few letters in it."""
READ_MAX = 1_000
LEFT_OUT = "\n[offload: the rest of the log is left out]\n"


class Logbook:
    """Counts by lease. Nodes that are told of the same attempt in turns each count what they were told."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._left: OrderedDict[Lease, int] = OrderedDict()

    async def add(self, lease: Lease, task: Task, said: bytes) -> tuple[TaskEvent | None, int]:
        """Return what is to be kept of a text, and how many bytes there is still room for."""
        if lease not in self._left:
            counted = await self._counted(task)
            self._left.setdefault(lease, counted)  # of several calls at once, the others may have added meanwhile
        left = self._left[lease]
        kept = said[:left]
        text = kept.decode("utf-8", "replace" if len(kept) == len(said) else "ignore")
        text += LEFT_OUT if left and len(kept) < len(said) else ""
        left = 0 if len(kept) < len(said) else max(0, left - max(len(kept), CALL_BYTES_MIN if said else 0))
        self._left[lease] = left
        self._left.move_to_end(lease)
        if len(self._left) > KNOWN_MAX:
            self._left.popitem(last=False)
        if not text:
            return None, left
        now = self._parts.clock.now()
        return TaskEvent(kind="log", at=now, attempt=task.attempt, data=msgspec.json.encode(text)), left

    async def _counted(self, task: Task) -> int:
        """Return what an attempt has left, by what the store has of it."""
        job = self._parts.catalog.jobs.get(task.job)
        own = None if job is None else job.log_bytes_max
        left = self._parts.lending.log_bytes_max if own is None else own
        after = 0
        while events := await self._parts.store.events(ALL, task.id, after=after, limit=READ_MAX):
            after = events[-1].n
            for event in events:
                if event.kind == "log" and event.attempt == task.attempt:
                    left -= max(len(msgspec.json.decode(event.data, type=str).encode()), CALL_BYTES_MIN)
        return max(0, left)
