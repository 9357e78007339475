"""Results that are whole responses, kept as `message/http`: what of them is head, and what the body."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from offload.core.errors import EgressFailed, FileDoesNotExist, OffloadError
from offload.core.task import FileRef
from offload.ports import Blobs

MESSAGE_TYPE = "message/http"
HEAD_BYTES_MAX = 1024**2
DESCRIBE_BODY = ("content-disposition", "content-encoding", "content-language", "content-location")
"""What a body is, besides its type; the rest of an application's header is meant for whoever sent the request."""


class ResponseNotSent(EgressFailed):
    """A wrapped application answered that it could not do what it was asked for: that is not brought anywhere."""

    code = "ResponseNotSent"

    def __init__(self, status: int) -> None:
        super().__init__(
            f"the application answered {status}, and only an answer of success (2xx) is sent on", temporary=False
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A stored response whose body is still to be read."""

    status: int
    fields: list[tuple[bytes, bytes]]
    head_bytes: int
    """How much of the file comes before the body."""
    first: bytes
    """The part of the body that came with the head."""
    rest: AsyncGenerator[bytes, None]

    @property
    def content_type(self) -> str:
        return self._given.get("content-type", "application/octet-stream")

    @property
    def described(self) -> dict[str, str]:
        """Return the fields that say what the body is, without its type."""
        given = self._given
        return {name.title(): given[name] for name in DESCRIBE_BODY if name in given}

    @property
    def _given(self) -> dict[str, str]:
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(self.fields)}


async def open_message(blobs: Blobs, file: FileRef, gone: OffloadError) -> Opened:
    """Read the head of a stored response, or raise `gone` when it is not there any more."""
    chunks = _chunks(blobs, file)
    stored = b""
    try:
        while b"\r\n\r\n" not in stored and len(stored) < HEAD_BYTES_MAX:
            stored += await anext(chunks)
    except (FileDoesNotExist, StopAsyncIteration):
        raise gone from None
    head, end, first = stored.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    split = [line.partition(b": ") for line in lines]
    return Opened(
        status=int(status_line.split(b" ", 2)[1]),
        fields=[(name, value) for name, _, value in split],
        head_bytes=len(head) + len(end),
        first=first,
        rest=chunks,
    )


async def _chunks(blobs: Blobs, file: FileRef) -> AsyncGenerator[bytes, None]:
    left = file.size
    async for chunk in blobs.read(file.blob):
        left -= len(chunk)
        yield chunk
    if left:
        raise OSError(f"blob {file.blob} ended {left} bytes too early")  # the client sees the connection break
