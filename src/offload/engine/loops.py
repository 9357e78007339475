"""What agents need to run loops over a thing that fails: pauses that grow, and an end that is one."""

import asyncio
from collections.abc import Iterable

from offload.core.task import Seconds

PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 5.0
END_SECONDS = 0.5


class Pauses:
    """How long to wait before the next try: twice as long each time, up to a bound."""

    def __init__(self) -> None:
        self._next: Seconds = PAUSE_SECONDS

    def reset(self) -> None:
        self._next = PAUSE_SECONDS

    def next(self) -> Seconds:
        now, self._next = self._next, min(PAUSE_SECONDS_MAX, self._next * 2)
        return now


async def end(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    """Cancel until they have ended: client libraries have been seen to swallow a cancellation and go on."""
    left = {task for task in tasks if task is not None and not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=END_SECONDS)
