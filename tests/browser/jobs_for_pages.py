"""Jobs whose inputs, results and ends the dashboard has to show."""

import os
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Literal

from offload import Context, File, Reject, Retry, job


def stay() -> None:
    """Stay in the middle of a job for as long as the test wants to look at it."""
    gate = os.environ.get("TEST_GATE")
    while gate and not Path(gate).exists():
        time.sleep(0.01)


@job(queue="images")
def copy(image: File, width: int = 320, mode: Literal["fast", "fine"] = "fast", *, ctx: Context) -> File:
    """Copy a picture.

    It says how far it is."""
    for tenth in range(5):
        ctx.progress(tenth / 5, f"part {tenth}")
    stay()
    print("copied", image.name)
    return File(image.read_bytes(), name=image.name, type=image.type)


@job
def count(to: int, *, ctx: Context) -> Iterator[int]:
    """Count aloud."""
    for number in range(1, to + 1):
        if number == 4:
            stay()
        ctx.progress(number / to, f"at {number}")
        print("counted", number, flush=True)
        yield number


@job(queue="fragile", workers=1)
def wait_for(gate: str) -> str:
    """Wait until a file is there."""
    while not Path(gate).exists():
        time.sleep(0.01)
    return "open"


@job
def attend(paper: File, gate: str, *, ctx: Context) -> None:
    """Say so when a file comes, and end when it goes."""
    while not Path(gate).exists():
        time.sleep(0.01)
    ctx.progress(0.5, "the gate is open")
    while Path(gate).exists():
        time.sleep(0.01)


@job(queue="broken", retry=Retry(max_attempts=1))
def fail(why: str) -> None:
    """Fail always."""
    print(why)
    raise ValueError(why)


@job
def echo(value: Any) -> Any:
    """Give back what came."""
    return value


@job
def save(text: str, name: str, type: str) -> File:
    """Give back a text as a file."""
    return File(text.encode(), name=name, type=type)


@job(queue="a-queue-that-is-called-more-than-a-phone-can-show-in-one-line")
def a_job_that_is_called_more_than_a_phone_can_show_in_one_line(when: date, gift: bool = False) -> None:
    """Be shown."""


@job
def refuse(why: str) -> None:
    raise Reject(why)
