"""Jobs that leave a trace of every start and finish, for tests that kill servers."""

import ctypes
import os
import time
from pathlib import Path

from offload import Context, File, Retry, job


def leave(trace: str, word: str, ctx: Context) -> None:
    """Add a line that survives whatever happens to this process next."""
    with os.fdopen(os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "w") as lines:
        lines.write(f"{word} {ctx.task_id} {ctx.attempt} {os.getpid()}\n")


@job
def quick(trace: str, n: int, *, ctx: Context) -> int:
    leave(trace, "start", ctx)
    leave(trace, "finish", ctx)
    return n


@job(retry=Retry(max_attempts=3, first_seconds=0.1))
def nap(trace: str, seconds: float, *, ctx: Context) -> str:
    leave(trace, "start", ctx)
    time.sleep(seconds)
    leave(trace, "finish", ctx)
    return "rested"


@job
def hold_the_gil(trace: str, seconds: float, *, ctx: Context) -> None:
    leave(trace, "start", ctx)
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # PyDLL keeps the GIL: no other thread of this process runs meanwhile
    leave(trace, "finish", ctx)


@job
def burn(seconds: float) -> int:
    """Compute for so much CPU time."""
    until, n = time.process_time() + seconds, 0
    while time.process_time() < until:
        n += 1
    return n


@job
def weigh(image: File) -> int:
    return len(image.read_bytes())


@job(queue="gates")
def wait_for(gate: str, trace: str, *, ctx: Context) -> None:
    """Run until a file appears, so that a test says when it ends."""
    leave(trace, "start", ctx)
    while not Path(gate).exists():
        time.sleep(0.01)
    leave(trace, "finish", ctx)
