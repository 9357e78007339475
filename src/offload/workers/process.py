"""Starts one worker process and hears of its end."""

import asyncio
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from offload.workers import strays
from offload.workers.tickets import Tickets

_MAXRSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended."""

    code: int
    """The exit code, or minus the signal."""
    peak_bytes: int | None
    """The most memory it held; None when only the server's own peak, which it inherits at its start, is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The server's ends of what a process was started with."""

    sock: socket.socket
    tickets: Tickets
    output_fd: int


class Process:
    """A running worker process, the leader of a session and process group of its own."""

    def __init__(self, popen: "subprocess.Popen[bytes]", on_exit: Callable[[Exit], None]) -> None:
        self._popen = popen
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._pidfd = -1
        self.pid = popen.pid
        if hasattr(os, "pidfd_open"):
            self._pidfd = os.pidfd_open(popen.pid)
            self._loop.add_reader(self._pidfd, self._exited)
        else:
            threading.Thread(target=self._wait, daemon=True).start()

    @classmethod
    def start(cls, environment: Mapping[str, str], on_exit: Callable[[Exit], None]) -> "tuple[Process, Ends]":
        """Start a process; what only it needs is closed on this side."""
        with ExitStack() as kept:
            with ExitStack() as theirs_alone:
                ours, theirs = socket.socketpair()
                kept.callback(ours.close)
                theirs_alone.callback(theirs.close)
                output_fd, write_fd = os.pipe()
                kept.callback(os.close, output_fd)
                theirs_alone.callback(os.close, write_fd)
                tickets = Tickets.create()
                kept.callback(tickets.close)
                popen = subprocess.Popen(
                    # -P: nothing in the working directory may stand in for a module of ours
                    [sys.executable, "-P", "-m", "offload.workers.child",
                     str(theirs.fileno()), str(tickets.fd), str(os.getpid())],
                    stdin=subprocess.DEVNULL, stdout=write_fd, stderr=write_fd,
                    pass_fds=(theirs.fileno(), tickets.fd), env=dict(environment), start_new_session=True,
                )  # fmt: skip
            try:
                process = cls(popen, on_exit)
            except OSError:  # no descriptor left for watching it
                popen.kill()
                popen.wait()
                raise
            kept.pop_all()
            return process, Ends(sock=ours, tickets=tickets, output_fd=output_fd)

    def signal(self, number: int) -> None:
        """Send a signal to the process alone; it has not been waited for, so its number is its own."""
        if self._popen.returncode is None:
            with suppress(ProcessLookupError):  # where SIGCHLD is ignored nothing has to be waited for
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process and its group."""
        if self._popen.returncode is None:
            strays.kill_group(self.pid)

    def _wait(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._loop.call_soon_threadsafe(self._exited)

    def _exited(self) -> None:
        strays.kill_group(self.pid)  # before waiting: until then the group's number cannot be someone else's
        try:
            _, status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:  # someone else waited for it
            status, usage = 0, resource.getrusage(resource.RUSAGE_CHILDREN)
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        own_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak = usage.ru_maxrss * _MAXRSS_UNIT_BYTES if usage.ru_maxrss > own_peak else None
        self._on_exit(Exit(code=self._popen.returncode, peak_bytes=peak))
