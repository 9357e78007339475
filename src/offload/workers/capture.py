"""The output of worker processes: read without ever stopping them, told apart by attempt, and kept within bounds."""

import asyncio
import os
from collections import deque
from collections.abc import Callable

import msgspec

from offload.core.task import Seconds

READ_BYTES = 64 * 2**10
READS_AT_A_TIME = 4
"""The loop turns to others in between, however much a job prints."""
LAST_READS_MAX = 64
NOTE_SECONDS = 1.0
CHUNK_BYTES_MAX = 32 * 2**10
"""The text of one log event."""


class OutputPipe:
    """Reads what a process and its descendants print, and cuts it at the marks that end a ticket's output."""

    def __init__(self, fd: int, *, mark: bytes, on_output: Callable[[int, bytes], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._mark = mark
        self._on_output = on_output
        self._held = b""
        self.ended = 0
        """The newest ticket whose end mark was seen: output is of a later one."""
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._loop.add_reader(fd, self._readable)

    def until(self, ticket: int) -> None:
        """Take what was printed before the end of `ticket`; the mark was written before the frame that told of it."""
        while self._open and self.ended < ticket and self._read():
            pass

    def close(self) -> None:
        """Take what is there and stop; a descendant that lives on keeps the other end."""
        for _ in range(LAST_READS_MAX):
            if not self._open or not self._read():
                break
        if self._held:
            self._on_output(self.ended, self._held)
        if self._open:
            self._shut()

    def _readable(self) -> None:
        for _ in range(READS_AT_A_TIME):
            if not self._open or self._read() < READ_BYTES:
                return

    def _read(self) -> int:
        try:
            data = os.read(self._fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        if not data:
            self._shut()
            return 0
        self._take(self._held + data if self._held else data)
        return len(data)

    def _shut(self) -> None:
        self._open = False
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _take(self, data: bytes) -> None:
        start = 0
        while (at := data.find(self._mark, start)) >= 0:
            line_end = data.find(b"\n", at)
            if line_end < 0:
                self._tell(data[start:at])
                self._held = data[at:]
                return
            self._tell(data[start:at])
            number = data[at + len(self._mark) : line_end]
            self.ended = max(self.ended, int(number)) if number.isdigit() else self.ended
            start = line_end + 1
        cut = self._possible_mark(data, start)
        self._tell(data[start:cut])
        self._held = data[cut:]

    def _possible_mark(self, data: bytes, start: int) -> int:
        """Return where a mark may begin whose rest has not arrived."""
        at = data.find(self._mark[:1], max(start, len(data) - len(self._mark) + 1))
        return at if at >= 0 and self._mark.startswith(data[at:]) else len(data)

    def _tell(self, data: bytes) -> None:
        if data:
            self._on_output(self.ended, data)


class AttemptLog:
    """The output of one attempt: its first half is told while it runs; of the rest, the end is kept for last words."""

    def __init__(self, bytes_max: int) -> None:
        self._room = bytes_max - bytes_max // 2
        self._tail_bytes_max = bytes_max // 2
        self._fresh = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._left_out = 0
        self._told_at: Seconds = 0.0

    def add(self, data: bytes) -> None:
        taken = data[: self._room]
        self._fresh += taken
        self._room -= len(taken)
        rest = data[len(taken) :]
        if not rest:
            return
        self._tail.append(rest)
        self._tail_bytes += len(rest)
        while self._tail and self._tail_bytes - len(self._tail[0]) >= self._tail_bytes_max:
            gone = len(self._tail.popleft())
            self._tail_bytes -= gone
            self._left_out += gone

    def news(self, now: Seconds) -> list[bytes]:
        """Return log events to tell now, at most once a second: whole lines where there are any."""
        if not self._fresh or now - self._told_at < NOTE_SECONDS:
            return []
        self._told_at = now
        cut = self._fresh.rfind(b"\n") + 1 or _whole_characters(self._fresh)
        text = bytes(self._fresh[:cut])
        del self._fresh[:cut]
        return _events(text)

    def rest(self) -> list[bytes]:
        """Return what has not been told, with a line that says how much is missing."""
        if not self._fresh and not self._tail and not self._left_out:
            return []
        tail = b"".join(self._tail)
        keep = tail[max(0, len(tail) - self._tail_bytes_max) :]
        left_out = self._left_out + len(tail) - len(keep)
        gap = b"\n[offload: %d bytes of output left out]\n" % left_out if left_out else b""
        return _events(bytes(self._fresh) + gap + keep)


def _events(data: bytes) -> list[bytes]:
    """Return the text as JSON strings, none very long."""
    events = []
    while data:
        size = len(data)
        if size > CHUNK_BYTES_MAX:
            size = data.rfind(b"\n", 0, CHUNK_BYTES_MAX) + 1 or _whole_characters(data[:CHUNK_BYTES_MAX])
        events.append(msgspec.json.encode(data[:size].decode("utf-8", "replace")))
        data = data[size:]
    return events


def _whole_characters(data: bytes | bytearray) -> int:
    """Return the length without a character that is cut at the end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if needed > back and len(data) > back else len(data)
        if byte < 0x80:
            break
    return len(data)
