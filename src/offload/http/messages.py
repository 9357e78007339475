"""Results that are whole responses, kept as `message/http`: told again exactly as the application gave them."""

from collections.abc import AsyncGenerator

from starlette.responses import Response

from offload.core.errors import OffloadError
from offload.core.task import FileRef, Task
from offload.http.call import Call
from offload.http.serving import FileAnswer

MESSAGE_TYPE = "message/http"
HEAD_BYTES_MAX = 1024**2


def holds_message(call: Call, task: Task) -> bool:
    """Tell whether a task's result is a response that an application gave to a request."""
    return task.job in call.config.request_jobs and task.result_file is not None and (
        task.result_file.type == MESSAGE_TYPE
    )  # fmt: skip


async def serve_message(call: Call, task: Task, gone: OffloadError) -> Response:
    """Answer with the status, header and body of a stored response, or raise `gone` when it is not there any more."""
    assert task.result_file is not None
    chunks = _chunks(call, task.result_file)
    stored = b""
    try:
        while b"\r\n\r\n" not in stored and len(stored) < HEAD_BYTES_MAX:
            stored += await anext(chunks)
    except (OffloadError, StopAsyncIteration):
        raise gone from None
    head, _, first = stored.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    status = int(status_line.split(b" ", 2)[1])
    if call.method == "HEAD":
        await chunks.aclose()
        response = Response(b"", status)
        response.raw_headers.clear()
    else:
        response = FileAnswer(first, chunks, status)
    for line in lines:
        name, _, value = line.partition(b": ")
        response.raw_headers.append((name, value))
    response.raw_headers.append((b"offload-task-id", task.id.encode()))
    return response


async def _chunks(call: Call, file: FileRef) -> AsyncGenerator[bytes, None]:
    left = file.size
    async for chunk in call.engine.blobs.read(file.blob):
        left -= len(chunk)
        yield chunk
    if left:
        raise OSError(f"blob {file.blob} ended {left} bytes too early")  # the client sees the connection break
