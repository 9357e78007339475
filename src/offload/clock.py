"""The clock a node lives by: Unix time that never goes back and takes jumps of the wall clock late."""

import time

from offload.core.task import Seconds

SLEW_SECONDS_MAX = 1.0
"""A smaller difference is drift and is taken over at once; a larger one is a jump."""
JUMP_LASTS_SECONDS = 60.0
"""A jump that is taken back sooner never happened."""
UNSURE_SECONDS_MAX = 0.25
"""An answer about the store's time that took longer than twice this says too little."""
SLOWER_MAX = 0.05
"""A clock that is ahead goes so much slower, until it is not: it never goes back."""
SLEW_ROUND_SECONDS = 10.0


class SteadyClock:
    """Wall time at the start plus monotonic time since: a jump of the wall clock ends no lease and purges nothing.

    Once it has learned the store's time, it follows that in place of this machine's.
    """

    def __init__(self) -> None:
        self._set(time.time(), pace=1.0)
        self._jumped_at: Seconds | None = None
        self._store_ahead: Seconds | None = None
        self._wall_ahead = time.time() - time.monotonic()

    def now(self) -> Seconds:
        return self._from + (time.monotonic() - self._from_monotonic) * self._pace

    def monotonic(self) -> Seconds:
        return time.monotonic()

    def learn(self, ahead: Seconds, unsure: Seconds) -> None:
        """Hear how far the store's time is ahead of the monotonic one, give or take `unsure`."""
        if self._store_ahead is None:  # nothing was done by this clock yet
            self._store_ahead = ahead
            self._set(time.monotonic() + ahead, pace=1.0)
        elif unsure <= UNSURE_SECONDS_MAX:
            self._store_ahead = ahead
            self._follow_pause()

    def follow(self) -> Seconds:
        """Take over drift at once, a jump after it has lasted a while; return the jump that was taken over, else 0."""
        now = self.now()
        jump = self._source() - now
        if abs(jump) <= SLEW_SECONDS_MAX:
            self._jumped_at = None
            pace = 1.0 if jump >= 0 else 1.0 - min(SLOWER_MAX, -jump / SLEW_ROUND_SECONDS)
            self._set(now + max(0.0, jump), pace=pace)
            return 0.0
        if self._jumped_at is None:
            self._jumped_at = time.monotonic()
        if time.monotonic() - self._jumped_at < JUMP_LASTS_SECONDS:
            return 0.0
        self._set(now + jump, pace=1.0)
        self._jumped_at = None
        return jump

    def _source(self) -> Seconds:
        return time.time() if self._store_ahead is None else time.monotonic() + self._store_ahead

    def _follow_pause(self) -> None:
        """Take over at once that this machine slept: its wall clock jumped with the store's; only it stood still."""
        slept = time.time() - time.monotonic() - self._wall_ahead
        self._wall_ahead += slept
        jump = self._source() - self.now()
        if jump > SLEW_SECONDS_MAX and abs(jump - slept) <= SLEW_SECONDS_MAX:
            self._set(self._source(), pace=1.0)

    def _set(self, now: Seconds, *, pace: float) -> None:
        self._from, self._from_monotonic, self._pace = now, time.monotonic(), pace
