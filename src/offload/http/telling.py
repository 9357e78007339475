"""What a callback says: the event with its task, or the result itself."""

import msgspec

from offload.core.callback import Delivery
from offload.core.errors import ResultExpired
from offload.core.task import FileRef, Status, Task
from offload.engine.deliverer import Rendered
from offload.engine.responses import open_message
from offload.engine.views import View
from offload.http.config import HttpConfig
from offload.http.messages import holds_message
from offload.http.present import JSON_TYPE, encode, rfc3339, task_json
from offload.http.problems import PROBLEM_TYPE, problem
from offload.http.results import ended_without_result
from offload.http.serving import content_disposition
from offload.ports import Blobs

TEST_EVENT = "callback.test"


async def render(delivery: Delivery, task: Task, *, config: HttpConfig, blobs: Blobs) -> Rendered:
    """Return what a delivery says of its task, which is in the state that the delivery tells."""
    if task.error is not None:  # a traceback tells of the code, and the receiver may be anybody
        task = msgspec.structs.replace(task, error=msgspec.structs.replace(task.error, traceback=""))
    fields = {"Offload-Task-Id": task.id, "Offload-Task-Status": str(task.status)}
    if delivery.body == "event" or task.status is Status.RUNNING:
        shown = task_json(View(task=task), config.result_inline_bytes_max, config.prefix)
        return Rendered(content_type=JSON_TYPE, body=event_json(delivery.type, delivery.told.at, shown), fields=fields)
    if task.status is not Status.DONE:
        return Rendered(content_type=PROBLEM_TYPE, body=bytes(ended_without_result(task).body), fields=fields)
    expired = ResultExpired(f"the result of task {task.id} is no longer kept")
    if task.payload_dropped:
        return Rendered(content_type=PROBLEM_TYPE, body=bytes(problem(expired).body), fields=fields)
    if task.result_file is not None:
        file = task.result_file
        if holds_message(config, task):
            return await _response(blobs, file, fields, expired)
        named = {"Content-Disposition": content_disposition(file.name, file.type)}
        return Rendered(content_type=file.type, file=file, fields={**fields, **named})
    return Rendered(content_type=JSON_TYPE, body=task.result or b"null", fields=fields)


async def _response(blobs: Blobs, file: FileRef, fields: dict[str, str], gone: ResultExpired) -> Rendered:
    """Return the body that an application answered with, and in the header what that body is."""
    message = await open_message(blobs, file, gone)
    await message.rest.aclose()
    return Rendered(
        content_type=message.content_type,
        file=file,
        skip_bytes=message.head_bytes,
        fields={**fields, **message.described, "Offload-Response-Status": str(message.status)},
    )


def event_json(kind: str, at: float, data: bytes) -> bytes:
    """Return the JSON of an event, as Standard Webhooks suggests it."""
    return encode({"type": kind, "timestamp": rfc3339(at), "data": msgspec.Raw(data)})
