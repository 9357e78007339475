"""What agents need to run loops over a thing that fails: pauses that grow, and an end that is one."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Iterable, Iterator

from offload.core.task import Seconds
from offload.ports.broker import BrokerUnavailable

PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 5.0
END_SECONDS = 0.5


class Pauses:
    """How long to wait before the next try: twice as long each time, up to a bound."""

    def __init__(self, first: Seconds = PAUSE_SECONDS, most: Seconds = PAUSE_SECONDS_MAX) -> None:
        self._first = self._next = first
        self._most = most

    def reset(self) -> None:
        self._next = self._first

    def next(self) -> Seconds:
        now, self._next = self._next, min(self._most, self._next * 2)
        return now


@contextlib.contextmanager
def only_our_cancels() -> Iterator[None]:
    """Raise BrokerUnavailable for a cancellation that nobody asked of this task.

    Client libraries cancel what waits for a connection that is lost; a loop that took it for its own end would be gone.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailable("the broker's client gave up the call") from None


async def last_word(call: Awaitable[None], trouble: str, log: logging.Logger) -> bool:
    """Make a call that need not succeed, and tell whether it did: whatever goes wrong keeps nobody from going on."""
    try:
        with only_our_cancels():
            await call
    except BrokerUnavailable as error:
        log.warning("%s: %s", trouble, error)
    except Exception:
        log.exception(trouble)
    else:
        return True
    return False


async def end(tasks: Iterable[asyncio.Task[None] | None]) -> None:
    """Cancel until they have ended: client libraries have been seen to swallow a cancellation and go on."""
    left = {task for task in tasks if task is not None and not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=END_SECONDS)
