"""Waiting for a server outside this process: for a condition, with a deadline; and how long something took."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

_NEVER = threading.Event()


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str, log: Path | None = None) -> None:
    """Return when `condition` holds; fail when it does not within the time, with the end of what the server said."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}{_end_of(log)}"
        _NEVER.wait(0.02)


def _end_of(log: Path | None) -> str:
    return "" if log is None or not log.exists() else f"; it said:\n{log.read_text(errors='replace')[-3000:]}"


class Watch:
    """A clock that stands while this process has no core: what is timed by it is not how busy the machine is."""

    TICK_SECONDS = 0.05

    def __init__(self) -> None:
        self._stood_seconds = 0.0
        self._ticked_at = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._stood_seconds - self._late()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self.TICK_SECONDS)
            self._stood_seconds += self._late()
            self._ticked_at = time.monotonic()

    def _late(self) -> float:
        return max(0.0, time.monotonic() - self._ticked_at - self.TICK_SECONDS)


@asynccontextmanager
async def watch() -> AsyncIterator[Watch]:
    """Let a watch run."""
    made = Watch()
    running = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        running.cancel()
