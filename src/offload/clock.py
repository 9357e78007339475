"""The clock a node lives by: Unix time that never goes back and takes jumps of the wall clock late."""

import time

from offload.core.task import Seconds

SLEW_SECONDS_MAX = 1.0
"""A smaller difference is drift and is taken over at once; a larger one is a jump."""
JUMP_LASTS_SECONDS = 60.0
"""A jump that is taken back sooner never happened."""


class SteadyClock:
    """Wall time at the start plus monotonic time since: a jump of the wall clock ends no lease and purges nothing."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()
        self._jumped_at: Seconds | None = None

    def now(self) -> Seconds:
        return time.monotonic() + self._offset

    def monotonic(self) -> Seconds:
        return time.monotonic()

    def follow(self) -> Seconds:
        """Take over drift at once, a jump after it has lasted a while; return the jump that was taken over, else 0."""
        jump = time.time() - self.now()
        if abs(jump) <= SLEW_SECONDS_MAX:
            self._offset += max(0.0, jump)
            self._jumped_at = None
            return 0.0
        if self._jumped_at is None:
            self._jumped_at = time.monotonic()
        if time.monotonic() - self._jumped_at < JUMP_LASTS_SECONDS:
            return 0.0
        self._offset += jump
        self._jumped_at = None
        return jump
