"""Who starts an attempt: server and child settle it with one lock for each ticket on a page of memory they share.

The child takes the lock of a ticket before user code runs; the server recalls a waiting ticket by taking the same lock.
The kernel gives it to one of them. A child's locks vanish with it, so it also writes down what it started: the page
outlives it, and tells the server which attempt was lost and which never began.
"""

import fcntl
import mmap
import os
import tempfile
from typing import Self

from offload.core.task import Seconds

_STARTED, _STARTED_AT, _STOP, _STEPPING, _SETTLED, _ENDING = range(6)
_TRIM_EVERY = 256
_LIFE = 0
"""The byte that the child locks for as long as it lives; the bytes of the tickets come after it."""


class Tickets:
    """The shared page and its locks. Each side has one object, on the same file, for one child."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, mmap.PAGESIZE)
        self._cells = memoryview(self._map).cast("Q")  # aligned 8-byte cells are written whole
        self._taken = 0

    @classmethod
    def create(cls) -> Self:
        """Make a new page; its descriptor is for the child to inherit."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("offload-tickets")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        try:
            os.ftruncate(fd, mmap.PAGESIZE)
            return cls(fd)
        except OSError:  # the map takes one more descriptor
            os.close(fd)
            raise

    def enter(self) -> None:
        """Show, in the child and before its first ticket, that it lives: the kernel notes when it does no more."""
        fcntl.lockf(self.fd, fcntl.LOCK_EX, 1, _LIFE)

    def take(self, ticket: int) -> bool:
        """Tell whether the start of `ticket`, from 1, is ours to decide; True for one side only."""
        if not self._lock(ticket):
            return False
        self._taken += 1
        return True

    def recall(self, ticket: int) -> bool:
        """On the server's side: tell whether `ticket` never began and never will.

        The lock of one that did begin is free again when its process is dead; what it wrote down is still there. A
        newer ticket that was started says nothing of this one while the child lives: it may have just passed this one.
        """
        return self.take(ticket) and (self.started < ticket or self._lives())

    def forget(self, below: int) -> None:
        """Give back the locks of tickets below `below`, now and then: the other side must never ask for them again."""
        if self._taken >= _TRIM_EVERY and below > 1:
            self._taken = 0
            fcntl.lockf(self.fd, fcntl.LOCK_UN, below - 1, 1)

    def note_start(self, ticket: int, now: Seconds) -> None:
        """Record, in the child and before user code, that `ticket` starts."""
        self._cells[_STARTED_AT] = int(now * 1e9)
        self._cells[_STARTED] = ticket

    @property
    def started(self) -> int:
        """The newest ticket that was started."""
        return self._cells[_STARTED]

    @property
    def started_at(self) -> Seconds:
        """When it was, on the monotonic clock of the machine."""
        return self._cells[_STARTED_AT] / 1e9

    @property
    def stop(self) -> int:
        """The ticket that the server wants to end."""
        return self._cells[_STOP]

    @stop.setter
    def stop(self, ticket: int) -> None:
        self._cells[_STOP] = ticket

    @property
    def stepping(self) -> int:
        """The ticket whose code holds an asynchronous child's loop, 0 for none: the suspect when the child dies."""
        return self._cells[_STEPPING]

    @stepping.setter
    def stepping(self, ticket: int) -> None:
        self._cells[_STEPPING] = ticket

    @property
    def settled(self) -> int:
        """The server knows how every lower ticket ended, and asks for none of them again."""
        return self._cells[_SETTLED]

    @settled.setter
    def settled(self, ticket: int) -> None:
        self._cells[_SETTLED] = ticket

    @property
    def ending(self) -> bool:
        """The server wants the process to end now, by the signal that it sends: one from anybody else is not obeyed."""
        return self._cells[_ENDING] != 0

    @ending.setter
    def ending(self, value: bool) -> None:
        self._cells[_ENDING] = int(value)

    def _lives(self) -> bool:
        if not self._lock(_LIFE):
            return True
        fcntl.lockf(self.fd, fcntl.LOCK_UN, 1, _LIFE)
        return False

    def _lock(self, byte: int) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._cells.release()
        self._map.close()
        os.close(self.fd)
