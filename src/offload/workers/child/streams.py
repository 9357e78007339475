"""The output of a worker process: one pipe under descriptors 1 and 2, with a mark where an attempt's output ends."""

import contextvars
import ctypes
import io
import logging
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO, cast

from offload.workers.protocol import end_mark

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Streams:
    """Standard output and error of this process, kept in order for the next attempt."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._pipe = os.dup(1)  # the job may close or redirect 1 and 2
        self._flush_c = _c_flusher()
        for stream in (sys.stdout, sys.stderr):
            assert isinstance(stream, io.TextIOWrapper)
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
        self._out: TextIO = sys.stdout
        self._err: TextIO = sys.stderr

    def end(self, ticket: int) -> None:
        """Flush everything that was written and say in the pipe that `ticket` ends here."""
        os.set_blocking(self._pipe, True)  # whoever holds its other copies, a program the job ran, may have changed it
        for stream in (sys.stdout, sys.stderr, self._out, self._err):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass  # closed or replaced by the job
        self._flush_c()
        _write_all(self._pipe, end_mark(self._mark, ticket))

    def restore(self) -> None:
        """Undo what a job did to the streams."""
        if sys.stdout is not self._out or self._out.closed:
            self._out = sys.stdout = _reopened(self._out, 1)
        if sys.stderr is not self._err or self._err.closed:
            self._err = sys.stderr = _reopened(self._err, 2)
        os.dup2(self._pipe, 1)
        os.dup2(self._pipe, 2)

    def disown(self) -> None:
        """In a process that the job forked: keep the streams, give up the right to mark."""
        os.close(self._pipe)


speaking: contextvars.ContextVar[Callable[[str], None] | None] = contextvars.ContextVar("speaking", default=None)
"""Where an asynchronous attempt's output goes."""


def tell_attempts_apart() -> None:
    """In asynchronous children: what an attempt prints goes to the attempt, the rest to the pipe."""
    sys.stdout = cast(TextIO, _PerAttempt(sys.stdout))
    sys.stderr = cast(TextIO, _PerAttempt(sys.stderr))


class _PerAttempt:
    """A text stream that asks at each write whose it is."""

    def __init__(self, under: TextIO) -> None:
        self._under = under

    def write(self, text: str) -> int:
        say = speaking.get()
        if say is None:
            return self._under.write(text)
        say(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._under, name)


def log_by_default() -> None:
    """Show INFO and above on standard error, unless the jobs' module has set up logging itself."""
    root = logging.getLogger()
    if not root.handlers:
        shown = logging.StreamHandler(_CurrentError())
        shown.setFormatter(logging.Formatter(LOG_FORMAT))
        root.addHandler(shown)
        if root.level in (logging.NOTSET, logging.WARNING):
            root.setLevel(logging.INFO)


class _CurrentError(io.TextIOBase):
    """Whatever sys.stderr is when something is written."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _reopened(stream: TextIO, fd: int) -> TextIO:
    return stream if not stream.closed else open(fd, "w", buffering=1, errors="backslashreplace", closefd=False)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            os.set_blocking(fd, True)


def _c_flusher() -> Callable[[], object]:
    """Return what flushes C's own standard streams; printf in an extension waits there."""
    library = ctypes.CDLL(None)
    streams = []
    for names in (("stdout", "__stdoutp"), ("stderr", "__stderrp")):
        for name in names:
            try:
                streams.append(ctypes.c_void_p.in_dll(library, name))
                break
            except ValueError:
                continue

    def flush() -> None:
        for stream in streams:
            library.fflush(stream)

    return flush
