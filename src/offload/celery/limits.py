"""What bounds the attempts that Celery runs."""

from dataclasses import dataclass
from pathlib import Path

from offload.core.task import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class CeleryLimits:
    scratch: Path
    """A directory of its own, emptied at start; on the file system of the blobs."""
    at_once_max: int | None = None
    """Attempts of one queue handed over at a time; None: as many as its workers have places, and a few."""
    lost_seconds: Seconds = 30.0
    timeout_seconds: Seconds | None = None
    grace_seconds: Seconds = 5.0
    result_bytes_max: int = 2**30
