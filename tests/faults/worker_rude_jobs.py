"""Jobs that take or change what is not theirs, for the tests of the worker processes."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from offload import Context, File, RetryLater, job


def note_run(trace: str) -> None:
    with open(trace, "a") as file:
        file.write("x")


@job
def adds(a: int, b: int) -> int:
    return a + b


@job
def closes_what_is_open(trace: str) -> None:
    """As a library does that makes a daemon of its process."""
    note_run(trace)
    os.closerange(3, 1000)
    time.sleep(60)


@job
def becomes_another_program(trace: str) -> None:
    note_run(trace)
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])


@job
def fills_its_output_and_does_not_wait() -> str:
    """As a program does that was given the output and wants to wait for many things at once."""
    os.set_blocking(1, False)
    try:
        while True:
            os.write(1, b"x" * 4096)
    except BlockingIOError:
        return "full"


@job
def does_not_wait_for_its_output() -> None:
    os.set_blocking(1, False)


@job
def prints_much(lines: int, begun: str) -> str:
    Path(begun).touch()
    for _ in range(lines):
        print("x" * 1000)
    return "printed"


@job
def returns_twice(length: int, go: str, wrote: str, fails: bool) -> str:
    """Fork, and come back in both processes: in the second one later, with another result or an error."""
    if os.fork():
        return "1" * length
    while not os.path.exists(go):
        time.sleep(0.01)
    Path(wrote + ".twin").write_text(str(os.getpid()))
    os.replace(wrote + ".twin", wrote)
    if fails:
        raise ValueError("the second one")
    return "2" * length


@job
async def returns_twice_async() -> int:
    return os.fork()


@job
def breaks_with_its_result_written() -> File:
    """As when it is told to go at one of the last moments at which it may be."""

    def last_move(source: Path, target: Path, move: Any = os.replace) -> None:
        move(source, target)
        raise InterruptedError("in the last moment")

    os.replace = last_move  # type: ignore[assignment]
    return File(b"a result", name="result.txt")


class LaterWithoutTime(RetryLater):
    def __init__(self) -> None:
        """Forget what the class above wants to know."""


class Unspeakable:
    def __repr__(self) -> str:
        raise ValueError("no")


@job
async def fails_oddly(how: str) -> None:
    if how == "exit":
        sys.exit(Unspeakable())  # type: ignore[arg-type]
    raise LaterWithoutTime if how == "later" else RetryLater(float("inf"))


@job
async def cannot_be_told_of(ctx: Context) -> None:
    def end() -> None:
        raise MemoryError

    ctx._voice.end = end  # type: ignore[union-attr]


@job
def dies_with_its_result_written(length: int) -> str:
    def last_write(path: Path, data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(data)
        os.kill(os.getpid(), signal.SIGKILL)

    Path.write_bytes = last_write  # type: ignore[assignment,method-assign]
    return "x" * length
