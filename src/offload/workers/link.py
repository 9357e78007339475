"""The server's end of the socket to a worker process."""

import asyncio
import socket
from collections.abc import Callable

import msgspec

from offload.core.errors import FrameTooLarge
from offload.workers.protocol import (
    TO_CHILD_BYTES_MAX,
    TO_SERVER_BYTES_MAX,
    Splitter,
    ToChild,
    ToServer,
    encode,
    to_server,
)

RECEIVE_BYTES = 256 * 2**10
"""At a time: the loop turns to others in between."""
LAST_WORDS_BYTES_MAX = 8 * 2**20
"""More than any socket buffer holds: what a dead process can have left unread."""


class Link:
    """Sends and receives whole frames without ever blocking; several frames of one turn of the loop are one write."""

    def __init__(
        self, sock: socket.socket, *, on_frame: Callable[[ToServer], None], on_end: Callable[[str], None]
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._on_frame = on_frame
        self._on_end = on_end
        self._splitter = Splitter(TO_SERVER_BYTES_MAX)
        self._out = bytearray()
        self._flushing = False
        self._open = True
        self._blocked = False
        self._loop.add_reader(sock.fileno(), self._readable)

    def send(self, frame: ToChild) -> None:
        """Send a frame soon; raise FrameTooLarge when it cannot be."""
        data = encode(frame, bytes_max=TO_CHILD_BYTES_MAX)
        if not self._open:
            return
        self._out += data
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def drain(self) -> None:
        """Take what a process that is gone has left; then close."""
        taken = 0
        while self._open and taken < LAST_WORDS_BYTES_MAX:
            taken += self._receive()
            if not taken or self._blocked:
                break
        self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()

    def _readable(self) -> None:
        self._receive()

    def _receive(self) -> int:
        self._blocked = False
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            self._blocked = True
            return 0
        except OSError as error:
            self._end(f"its socket failed: {error}")
            return 0
        if not data:
            self._end("it closed its socket")
            return 0
        try:
            for body in self._splitter.feed(data):
                self._on_frame(to_server.decode(body))
        except (msgspec.MsgspecError, FrameTooLarge) as error:
            self._end(f"it broke the protocol: {error}")
        return len(data)

    def _end(self, why: str) -> None:
        if self._open:
            self.close()
            self._on_end(why)

    def _flush(self) -> None:
        if not self._open:
            return
        try:
            sent = self._sock.send(self._out)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # the reading side learns why
            self._out.clear()
            sent = 0
        del self._out[:sent]
        if self._out:
            self._loop.add_writer(self._sock.fileno(), self._flush)
        else:
            self._flushing = False
            self._loop.remove_writer(self._sock.fileno())
