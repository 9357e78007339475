"""When a failed attempt is tried again."""

from dataclasses import dataclass

from offload.core.task import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Say how often and how soon a failed attempt is repeated; all times in seconds."""

    max_attempts: int = 3
    first_seconds: Seconds = 1.0
    factor: float = 2.0
    most_seconds: Seconds = 300.0
    jitter: bool = True
    """Spread each delay over 0.5 to 1 of its length, so that a crowd does not return at once."""

    def __post_init__(self) -> None:
        for name, right in (
            ("max_attempts", self.max_attempts >= 1),
            ("first_seconds", self.first_seconds >= 0),
            ("factor", self.factor >= 1),
            ("most_seconds", self.most_seconds >= self.first_seconds),
        ):
            if not right:
                raise ValueError(f"Retry({name}={getattr(self, name)!r}) makes no sense; see its defaults")

    def delay_seconds(self, *, attempt: int, chance: float) -> Seconds:
        """Return how long to wait after the failed `attempt` (from 1); `chance` is in [0, 1)."""
        assert attempt >= 1 and 0.0 <= chance < 1.0
        exponent = min(attempt - 1, 64)  # beyond this only the cap counts, and floats overflow
        whole = min(self.first_seconds * self.factor**exponent, self.most_seconds)
        return whole * (0.5 + chance / 2) if self.jitter else whole
