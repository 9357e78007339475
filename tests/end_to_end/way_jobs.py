"""Jobs for the story of all ways in and back: one that reads files, one that waits, one that fails at first."""

import time
from pathlib import Path

from offload import Context, File, Retry, job


@job
def measure(file: File, times: int = 1) -> dict[str, int]:
    return {"bytes": len(file.read_bytes()) * times}


@job
def turned(file: File) -> File:
    return File(file.read_bytes()[::-1], name="turned.txt", type="text/plain")


@job(queue="gates")
def wait_for(gate: str, *, ctx: Context) -> int:
    """Run until a file appears; return which attempt it was."""
    while not Path(gate).exists():
        ctx.check()
        time.sleep(0.01)
    return ctx.attempt


@job(retry=Retry(max_attempts=3, first_seconds=0.1))
def stumble(*, ctx: Context) -> int:
    if ctx.attempt == 1:
        raise ConnectionError("not yet")
    return ctx.attempt
