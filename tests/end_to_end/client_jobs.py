"""Jobs for the tests of the client and the command line."""

import os
import time
from pathlib import Path

from offload import Context, File, Reject, job


@job
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@job
def upper(file: File, times: int = 1) -> File:
    """Return the text in capitals, some times over."""
    return File(file.read_bytes().upper() * times, name="upper.txt")


@job
def sizes(files: list[File], prefix: str, note: str | None = "none given") -> dict[str, object]:
    return {"sizes": [file.size for file in files], "names": [prefix + file.name for file in files], "note": note}


@job
def zeros(size: int) -> File:
    return File(b"\0" * size, name="zeros.bin")


@job
def numbers(count: int) -> list[int]:
    return list(range(count))


@job(queue="slow")
def steps(gate: str, *, ctx: Context) -> str:
    """Say how far it is, and end when there is a file at `gate`."""
    ctx.progress(0.5, "halfway \x1b[31m")
    print("waiting at the gate")
    while not Path(gate).exists():
        ctx.check()
        time.sleep(0.02)
    return "through"


@job
def fail(why: str) -> None:
    """Fail for good."""
    print("about to fail")
    raise Reject(why)


@job
def pid() -> int:
    return os.getpid()
