"""Looking for what is due, again and again, whatever goes wrong with a look."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from offload.core.errors import TryAgain
from offload.core.task import Seconds

UNAVAILABLE_SECONDS = 1.0
FAILED_SECONDS = 5.0


class Rounds:
    """Calls `look` until it is stopped: at once when woken, else after as many seconds as the last look returned."""

    def __init__(self, look: Callable[[], Awaitable[Seconds]], *, what: str, log: logging.Logger) -> None:
        self._look = look
        self._what = what
        self._log = log
        self._wake = asyncio.Event()
        self.stopping = False
        """No new look begins."""
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop().create_task(self._run())

    def wake(self) -> None:
        """Look at once, or once more if a look is under way."""
        self._wake.set()

    async def stop(self, *, cut_off: bool = False) -> None:
        """End after the look that is under way, or in the middle of it."""
        self.stopping = True
        self._wake.set()
        if self._loop is None:
            return
        if cut_off:
            self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=cut_off)

    async def _run(self) -> None:
        while not self.stopping:
            self._wake.clear()
            try:
                seconds = await self._look()
            except TryAgain as error:
                self._log.warning("cannot look for %s, trying again: %s", self._what, error)
                seconds = UNAVAILABLE_SECONDS
            except Exception:
                self._log.exception("looking for %s failed; trying again", self._what)
                seconds = FAILED_SECONDS
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue
