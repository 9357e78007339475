"""Jobs that behave well and badly, for the tests of the worker processes."""

import os
import signal
import sys
import time

from offload import Context, File, Reject, RetryLater, job


@job
def add(a: int, b: int) -> int:
    return a + b


@job
def broken() -> None:
    raise ValueError("it broke")


@job
def rejects() -> None:
    raise Reject("not this")


@job
def later() -> None:
    raise RetryLater(7)


def touch(path: str) -> None:
    """Show the test that the job runs, and in which process."""
    with open(path + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.replace(path + ".new", path)


@job
def sleeps(begun: str, seconds: float) -> str:
    touch(begun)
    time.sleep(seconds)
    return "slept"


@job
def kills_itself(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


@job
def leaves(code: int) -> None:
    os._exit(code)


@job
def says_exit(code: int) -> None:
    sys.exit(code)
