"""Jobs with something to say while they run."""

import time
from collections.abc import Iterator
from pathlib import Path

from offload import Context, Reject, job


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


@job
def count_on_request(folder: str, to: int) -> Iterator[int]:
    """Count, but go on only when there is a file for the number before."""
    for n in range(1, to + 1):
        yield n
        while not (Path(folder) / f"go-{n}").exists():
            time.sleep(0.01)


@job
def count_then_fail(to: int) -> Iterator[int]:
    yield from range(1, to + 1)
    raise Reject("no more")
