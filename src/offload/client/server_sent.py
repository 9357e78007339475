"""Server-sent events (WHATWG) read from pieces of bytes, wherever those were cut."""

from collections.abc import Iterator
from dataclasses import dataclass

EVENT_BYTES_MAX = 64 * 1024**2
"""Beyond this an event is no event of a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One event as it was sent."""

    id: str
    kind: str
    data: bytes


class Reader:
    """Takes pieces and yields the events that are whole; one that was cut off is never told."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._kind = ""
        self._data: list[bytes] = []
        self._size = 0

    def take(self, piece: bytes) -> Iterator[Sent]:
        """Yield the events that a piece completes. Raise ValueError for one beyond all bounds."""
        if b"\n" not in piece:  # nothing is complete: a long line is not looked through again and again
            self._grow(len(piece))
            self._rest += piece
            return
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            if (event := self._line(line.removesuffix(b"\r"))) is not None:
                yield event
        self._grow(len(self._rest))

    def _line(self, line: bytes) -> Sent | None:
        if not line:
            return self._whole()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"id":
                self._id = value.decode("utf-8", "replace")
            case b"event":
                self._kind = value.decode("utf-8", "replace")
            case b"data":
                self._grow(len(value))
                self._data.append(value)
        return None

    def _whole(self) -> Sent | None:
        kind, data = self._kind or "message", self._data
        self._kind, self._data, self._size = "", [], 0
        return Sent(id=self._id, kind=kind, data=b"\n".join(data)) if data else None

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > EVENT_BYTES_MAX:
            raise ValueError(f"an event is larger than {EVENT_BYTES_MAX:,} bytes")
