"""The jobs that are measured."""

import time

from offload import job


@job(queue="parked")
def parked(number: int = 0) -> None:
    """Wait in a queue that is paused."""


@job(queue="noop")
def noop(number: int = 0) -> int:
    """Do nothing."""
    return number


@job(queue="naps")
def nap(seconds: float = 0.05) -> None:
    """Wait for something elsewhere, and leave the cores alone."""
    time.sleep(seconds)


@job(queue="busy")
def compute(seconds: float = 0.1) -> int:
    """Use a core for so long, and hold the interpreter meanwhile."""
    return burn(seconds)


def burn(seconds: float) -> int:
    rounds, started = 0, time.thread_time()
    while time.thread_time() - started < seconds:
        rounds += sum(range(1_000))
    return rounds
