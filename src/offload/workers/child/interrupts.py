"""SIGTERM in a worker process: raised inside user code, and held back while we are in the middle of something.

Only the server's counts. A service manager that tells every process of a service to go tells the server too, and it
lets what runs go on for its grace.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from offload.workers.child.failures import Terminated


class Interrupts:
    """Decides when `Terminated` may be raised in the main thread; `is_meant` tells whose signal it was."""

    def __init__(self, is_meant: Callable[[], bool]) -> None:
        self.open = False
        """User code runs, or we wait for work: the exception may come."""
        self.terminated = False
        self._is_meant = is_meant
        self._shields = 0
        self._main = threading.get_ident()
        self.install()
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))

    def install(self) -> None:
        """Take the signal over; again after each attempt, because a job may have."""
        if signal.getsignal(signal.SIGTERM) != self._on_term:
            signal.signal(signal.SIGTERM, self._on_term)

    def let_in(self) -> None:
        """Let the exception come from here on; a signal that came a moment ago counts."""
        self.open = True
        if self.terminated:
            raise Terminated

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Let nothing interrupt what is inside: half a frame would end the conversation."""
        if threading.get_ident() != self._main:
            yield
            return
        before = self.terminated
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
            if self.terminated and not before and self.open and not self._shields:
                raise Terminated

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        if not self._is_meant():
            return
        first, self.terminated = not self.terminated, True
        if first and self.open and not self._shields:
            raise Terminated
