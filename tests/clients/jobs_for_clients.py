"""Jobs that the tests of the JavaScript client call."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from offload import Context, File, Reject, job


@job
def add(a: int, b: int) -> int:
    return a + b


@job
def digest(document: File, salt: str = "", *, ctx: Context) -> dict[str, object]:
    """Say what arrived."""
    for tenth in range(1, 11):
        ctx.progress(tenth / 10, f"tenth {tenth}")
        time.sleep(0.03)
    data = document.path.read_bytes()
    sha256 = hashlib.sha256(salt.encode() + data).hexdigest()
    return {"name": document.name, "type": document.type, "size": len(data), "sha256": sha256}


@job
def count_files(documents: list[File], labels: dict[str, int]) -> list[object]:
    return [[document.name for document in documents], labels]


@job
def shout(document: File) -> File:
    return File(document.path.read_bytes().upper(), name="loud.txt", type="text/plain")


@job
def refuse(why: str) -> None:
    raise Reject(why)


@job
def count(to: int, pause_seconds: float = 0.0, *, ctx: Context) -> Iterator[int]:
    """Count aloud."""
    for number in range(1, to + 1):
        time.sleep(pause_seconds)
        ctx.progress(number / to, f"at {number}")
        print("counted", number)
        yield number


@job(queue="waiting", workers=1)
def wait_for(gate: str) -> str:
    while not Path(gate).exists():
        time.sleep(0.01)
    return "open"


@job
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
