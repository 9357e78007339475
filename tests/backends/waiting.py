"""Waiting for a server outside this process: for a condition, with a deadline."""

import threading
import time
from collections.abc import Callable

_NEVER = threading.Event()


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Return when `condition` holds; fail when it does not within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        _NEVER.wait(0.02)
