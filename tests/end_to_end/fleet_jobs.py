"""Jobs for several nodes: quick ones, one that tells of itself until it is let go, and one with files."""

import time
from collections.abc import Iterator
from pathlib import Path

from offload import Context, File, job


@job
def double(n: int) -> int:
    return 2 * n


@job
def tell(gate: str, *, ctx: Context) -> Iterator[int]:
    """Say something in every way, then wait for a file to appear."""
    ctx.progress(0.5, "half")
    print("hello from", ctx.task_id)
    yield 7
    while not Path(gate).exists():
        if ctx.canceled:
            return
        time.sleep(0.01)
    yield 8


@job(queue="files")
def turn(text: File) -> File:
    return File(text.read_bytes()[::-1], name="turned.txt", type="text/plain")


@job(external=True)
def elsewhere(n: int) -> int:
    """Done by whoever leases it."""
    return n
