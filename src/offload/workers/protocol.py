"""The frames between the server and a worker process, and how they travel over their socket.

A frame is a 4-byte big-endian length and that many bytes of msgpack: an array that begins with the frame's number.

| frame      | no | goes to | meaning                                                                                |
| ---------- | -- | ------- | -------------------------------------------------------------------------------------- |
| Boot       | 1  | child   | first frame: what to load and under which limits                                       |
| Run        | 2  | child   | an attempt; started only by the side that takes its ticket's lock (`tickets`)          |
| Cancel     | 3  | child   | asynchronous children only: stop this ticket (others read a flag in shared memory)     |
| Retire     | 4  | child   | finish what was started, then exit                                                     |
| Ready      | 5  | server  | loaded; Run frames may come                                                            |
| BootFailed | 6  | server  | the jobs could not be loaded; the child exits                                          |
| Said       | 7  | server  | progress, yielded values, log text of a running attempt; at most 5 a second            |
| Returned   | 8  | server  | the attempt returned; nothing more is said about its ticket                            |
| Raised     | 9  | server  | the attempt ended without a result; nothing more is said about its ticket              |

Tickets number the Run frames of one child from 1, and a child that is not asynchronous runs them in that order. Files
travel as paths. The output of a child (its descriptors 1 and 2) is a pipe of its own; `end_mark` in it says where the
output of a ticket ends.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from offload.core.errors import FrameTooLarge
from offload.core.outcome import Failed, LocalFile
from offload.core.task import Progress, Seconds

TO_CHILD_BYTES_MAX = 64 * 2**20
TO_SERVER_BYTES_MAX = 4 * 2**20
RESULT_INLINE_BYTES_MAX = 64 * 2**10
"""Larger JSON goes through a file."""
OUTPUT_BYTES_MAX = 256 * 2**10
"""The JSON of one yielded value."""
SAID_BYTES_MAX = 512 * 2**10
SAID_OUTPUTS_MAX = 2_000
SAID_SECONDS = 0.2
"""The least time between two Said frames of one attempt."""
_LENGTH_BYTES = 4


class Boot(msgspec.Struct, array_like=True, tag=1):
    target: str
    lane_jobs: tuple[str, ...]
    own_lane: bool
    """The lane is one job's alone: its class is built before Ready."""
    is_async: bool
    sys_path: list[str]
    scratch: str
    results: str
    mark: str
    """What opens an end mark in the output pipe."""
    nice: int
    memory_bytes: int | None
    result_bytes_max: int
    tells_memory: bool
    """Each end of an attempt says what the process holds."""


class InputFile(msgspec.Struct, array_like=True):
    field: str
    path: str
    name: str
    type: str
    size: int


class Run(msgspec.Struct, array_like=True, tag=2):
    ticket: int
    task_id: str
    job: str
    attempt: int
    input: bytes
    files: list[InputFile]
    tags: dict[str, str]
    timeout_seconds: Seconds | None
    traceparent: str = ""


class Cancel(msgspec.Struct, array_like=True, tag=3):
    ticket: int


class Retire(msgspec.Struct, array_like=True, tag=4):
    pass


class Ready(msgspec.Struct, array_like=True, tag=5):
    pass


class BootFailed(msgspec.Struct, array_like=True, tag=6):
    message: str


class Said(msgspec.Struct, array_like=True, tag=7):
    ticket: int
    progress: Progress | None = None
    outputs: list[bytes] = []
    """JSON, one for each yielded value."""
    log: bytes = b""
    """Asynchronous children only; the others write to their output pipe."""


class Returned(msgspec.Struct, array_like=True, tag=8):
    ticket: int
    run_seconds: Seconds
    json: bytes | None = None
    file: LocalFile | None = None
    saw_stop: bool = False
    """The job had noticed that it should stop: what it returned is not a result."""
    memory_bytes: int = 0
    """What the process holds now; told only where recycling asks for it."""


class Raised(msgspec.Struct, array_like=True, tag=9):
    ticket: int
    run_seconds: Seconds
    failed: Failed
    saw_stop: bool = False
    memory_bytes: int = 0


ToChild = Boot | Run | Cancel | Retire
ToServer = Ready | BootFailed | Said | Returned | Raised

to_child = msgspec.msgpack.Decoder(ToChild)
to_server = msgspec.msgpack.Decoder(ToServer)
_encoder = msgspec.msgpack.Encoder()


def encode(frame: ToChild | ToServer, *, bytes_max: int) -> bytearray:
    """Return the bytes of a frame, or raise FrameTooLarge."""
    buffer = bytearray(256)
    _encoder.encode_into(frame, buffer, _LENGTH_BYTES)
    size = len(buffer) - _LENGTH_BYTES
    if size > bytes_max:
        raise FrameTooLarge(f"a {type(frame).__name__} frame of {size:,} bytes is beyond the limit of {bytes_max:,}")
    buffer[:_LENGTH_BYTES] = size.to_bytes(_LENGTH_BYTES, "big")
    return buffer


class Splitter:
    """Cuts a stream of bytes into the bodies of frames."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each body that is now complete; raise FrameTooLarge as soon as a length says so."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH_BYTES:
                body = start + _LENGTH_BYTES
                size = int.from_bytes(buffer[start:body], "big")
                if size > self._bytes_max:
                    raise FrameTooLarge(f"a frame of {size:,} bytes is beyond the limit of {self._bytes_max:,} bytes")
                if len(buffer) < body + size:
                    return
                start = body + size
                yield bytes(buffer[body:start])
        finally:
            del buffer[:start]


def result_path(results: Path, child: str, ticket: int) -> Path:
    """Return where a child puts the file of a ticket's result; the server removes one that it never hears of."""
    return results / f"{child}-{ticket}"


def end_mark(mark: bytes, ticket: int) -> bytes:
    """Return what a child writes into its output pipe when `ticket` has nothing more to say there."""
    return b"%s%d\n" % (mark, ticket)
