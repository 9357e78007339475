"""Results that are whole responses, kept as `message/http`: told again exactly as the application gave them."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.responses import Response

from offload.core.errors import FileDoesNotExist, OffloadError
from offload.core.task import FileRef, Task
from offload.http.call import Call
from offload.http.config import HttpConfig
from offload.http.serving import FileAnswer
from offload.ports import Blobs

MESSAGE_TYPE = "message/http"
HEAD_BYTES_MAX = 1024**2


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


def holds_message(config: HttpConfig, task: Task) -> bool:
    """Tell whether a task's result is a response that an application gave to a request."""
    return task.job in config.request_jobs and task.result_file is not None and (
        task.result_file.type == MESSAGE_TYPE
    )  # fmt: skip


async def serve_message(call: Call, task: Task, gone: OffloadError) -> Response:
    """Answer with the status, header and body of a stored response, or raise `gone` when it is not there any more."""
    assert task.result_file is not None
    message = await open_message(call.engine.blobs, task.result_file, gone)
    if call.method == "HEAD":
        await message.rest.aclose()
        response = Response(b"", message.status)
        response.raw_headers.clear()
    else:
        response = FileAnswer(message.first, message.rest, message.status)
    response.raw_headers.extend(message.fields)
    response.raw_headers.append((b"offload-task-id", task.id.encode()))
    return response


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
