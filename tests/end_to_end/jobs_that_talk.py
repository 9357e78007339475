"""Jobs with something to say while they run."""

import time
from collections.abc import Iterator
from pathlib import Path

from offload import Context, job


@job
def count(to: int, pause_seconds: float = 0.0, *, ctx: Context) -> Iterator[int]:
    """Count aloud."""
    for n in range(1, to + 1):
        time.sleep(pause_seconds)
        ctx.progress(n / to, f"at {n}")
        print("counted", n)
        yield n


@job
def wait_for(gate: str) -> str:
    while not Path(gate).exists():
        time.sleep(0.01)
    return "open"
