"""A worker process's end of the socket."""

import os
import socket
import threading
from collections import deque

from offload.workers.child.interrupts import Interrupts
from offload.workers.protocol import (
    TO_CHILD_BYTES_MAX,
    TO_SERVER_BYTES_MAX,
    Boot,
    Cancel,
    Retire,
    Run,
    Splitter,
    ToServer,
    encode,
    to_child,
)

RECEIVE_BYTES = 256 * 2**10


class ServerGone(Exception):
    """The other end of the socket is closed: nobody wants our results."""


class Channel:
    """Sends whole frames, from any thread; receives those of the server."""

    def __init__(self, link: socket.socket, interrupts: Interrupts) -> None:
        self.link = link
        self._interrupts = interrupts
        self._lock = threading.RLock()
        self._splitter = Splitter(TO_CHILD_BYTES_MAX)
        self._received: deque[Boot | Run | Cancel | Retire] = deque()
        self._owner = os.getpid()

    def send(self, frame: ToServer) -> None:
        if os.getpid() != self._owner:
            return  # a process that the job forked has no say
        data = encode(frame, bytes_max=TO_SERVER_BYTES_MAX)
        with self._interrupts.shielded(), self._lock:
            try:
                self.link.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                os._exit(1)  # the server is gone, and with it everyone who waited

    def leave_if_forked(self) -> None:
        """End a process that the job forked and that came back from the job: one attempt has one end."""
        if os.getpid() != self._owner:
            os._exit(1)

    def next(self) -> Boot | Run | Cancel | Retire:
        """Wait for the next frame."""
        while not self._received:
            self._interrupts.let_in()
            data = self.link.recv(RECEIVE_BYTES)
            self._interrupts.open = False
            self._take(data)
        return self._received.popleft()

    def waiting(self) -> list[Boot | Run | Cancel | Retire]:
        """Return the frames that are there, without waiting for more."""
        try:
            self._take(self.link.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT))
        except (BlockingIOError, InterruptedError):
            pass
        frames = list(self._received)
        self._received.clear()
        return frames

    def _take(self, data: bytes) -> None:
        if not data:
            raise ServerGone
        self._received.extend(to_child.decode(body) for body in self._splitter.feed(data))
