"""A token bucket: so many at once, and as many again over its window."""

from dataclasses import dataclass

from offload.core.task import Seconds


@dataclass(slots=True)
class Bucket:
    """Full at first; `take` at times that never go back."""

    count: int
    seconds: Seconds
    _left: float = -1.0
    _at: Seconds = 0.0

    def take(self, at: Seconds) -> bool:
        """Take one if there is one."""
        self._fill(at)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    @property
    def left(self) -> int:
        """Return how many there were after the last take."""
        return self.count if self._left < 0 else int(self._left)

    @property
    def seconds_to_next(self) -> Seconds:
        """Return how long after the last take there is one more."""
        missing = min(1.0, self.count - self._left) - (self._left % 1.0 if self._left >= 1.0 else self._left)
        return max(0.0, missing) * self.seconds / self.count

    def is_full(self, at: Seconds) -> bool:
        self._fill(at)
        return self._left >= self.count

    def _fill(self, at: Seconds) -> None:
        if self._left < 0:
            self._left = float(self.count)
        else:
            self._left = min(float(self.count), self._left + (at - self._at) * self.count / self.seconds)
        self._at = at
