"""Answers from results that are whole responses: exactly as the application gave them."""

from starlette.responses import Response

from offload.core.errors import OffloadError
from offload.core.task import Task
from offload.engine.responses import MESSAGE_TYPE, open_message
from offload.http.call import Call
from offload.http.config import HttpConfig
from offload.http.serving import FileAnswer


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
