"""A task as its JSON: written once by msgspec, times as RFC 3339, nothing guessed."""

from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from offload.core.places import put
from offload.core.sources import shown_url
from offload.core.task import Callback, Status, Task, TaskError
from offload.core.times import rfc3339 as rfc3339
from offload.engine.views import View
from offload.http.browsers import OWN_FIELDS

JSON_TYPE = "application/json"
SECRET_TYPE = "application/vnd.offload.secret"
"""The type of an input file that only the job may read: nothing shows it."""


class _Error(msgspec.Struct):
    type: str
    message: str
    traceback: str | UnsetType = UNSET


class _Progress(msgspec.Struct):
    fraction: float | None
    message: str


class _Callback(msgspec.Struct):
    url: str
    events: tuple[str, ...]
    body: str


class _Task(msgspec.Struct):
    """The fields in the order in which people read them."""

    id: str
    job: str
    queue: str
    status: str
    reason: str | None
    attempt: int
    max_attempts: int
    priority: int
    progress: _Progress | None
    position: int | UnsetType
    eta_seconds: float | UnsetType
    created_at: str
    queued_at: str | None
    run_at: str | None
    started_at: str | None
    finished_at: str | None
    deadline_at: str | None
    expires_at: str | None
    input: Any
    result: msgspec.Raw | None
    result_type: str | None
    result_size: int | None
    error: _Error | None
    tags: dict[str, str]
    callback: _Callback | None
    links: msgspec.Raw


class _State(msgspec.Struct):
    id: str
    status: str
    reason: str | None
    progress: _Progress | None
    position: int | UnsetType
    eta_seconds: float | UnsetType


encode = msgspec.json.Encoder().encode


def task_json(view: View, inline_bytes_max: int, prefix: str = "", *, tracebacks: bool = False) -> bytes:
    """Return the JSON of a task; clients find our routes below `prefix`, and tracebacks are for admins."""
    return encode(_shown(view, inline_bytes_max, prefix, tracebacks))


def tasks_json(
    views: list[View], inline_bytes_max: int, prefix: str = "", *, tracebacks: bool = False, **more: Any
) -> bytes:
    """Return `{"tasks": […], …}`."""
    return encode({"tasks": [_shown(view, inline_bytes_max, prefix, tracebacks) for view in views], **more})


def state_json(view: View) -> bytes:
    """Return what `…/status` says."""
    task = view.task
    return encode(_State(task.id, task.status, task.reason, _progress(task), _known(view.position), _eta(view)))


def error_fields(error: TaskError | None, *, tracebacks: bool = False) -> dict[str, str] | None:
    """Return a task's error as a problem carries it."""
    if error is None:
        return None
    found = {"type": error.type, "message": error.message}
    return {**found, "traceback": error.traceback} if tracebacks else found


def json_answer(body: bytes, status: int = 200) -> Response:
    """Return an answer with a body that is JSON already."""
    response = Response(body, status, media_type=JSON_TYPE)
    response.raw_headers.extend(OWN_FIELDS)
    return response


def task_path(task: Task, prefix: str = "") -> str:
    return f"{prefix}/v1/tasks/{task.id}"


def _shown(view: View, inline_bytes_max: int, prefix: str, tracebacks: bool) -> _Task:
    task = view.task
    created_at = rfc3339(task.created_at)
    assert created_at is not None
    result, kind, size = _result(task, inline_bytes_max)
    return _Task(
        task.id, task.job, task.queue, task.status, task.reason, task.attempt, task.max_attempts, task.priority,
        _progress(task), _known(view.position), _eta(view),
        created_at, rfc3339(task.queued_at), rfc3339(task.run_at), rfc3339(task.started_at),
        rfc3339(task.finished_at), rfc3339(task.deadline_at), rfc3339(task.expires_at),
        _input(task, prefix), result, kind, size,
        _error(task.error, tracebacks),
        task.tags, None if task.callback is None else _callback(task.callback), _links(task_path(task, prefix)),
    )  # fmt: skip


def _callback(callback: Callback) -> _Callback:
    return _Callback(callback.url, callback.events, callback.body)


def _result(task: Task, inline_bytes_max: int) -> tuple[msgspec.Raw | None, str | None, int | None]:
    if task.status is not Status.DONE or task.payload_dropped:
        return None, None, None
    if task.result_file is not None:
        return None, task.result_file.type, task.result_file.size
    result = task.result or b"null"
    return (msgspec.Raw(result) if len(result) <= inline_bytes_max else None), JSON_TYPE, len(result)


def _input(task: Task, prefix: str) -> Any:
    if not task.files:
        return msgspec.Raw(task.input)
    shown = msgspec.json.decode(task.input)
    for file in task.files:
        if file.type == SECRET_TYPE:
            continue
        url = f"{task_path(task, prefix)}/input/{quote(file.field, safe='')}"
        known = {"name": file.name, "type": file.type, "size": file.size}
        if file.url:  # not fetched yet
            known = {"name": None, "type": None, "size": None, "source": shown_url(file.url)}
        put(shown, file.field, {**known, "url": url})
    return shown


def _links(own: str) -> msgspec.Raw:
    return msgspec.Raw(
        f'{{"self":"{own}","status":"{own}/status","result":"{own}/result",'
        f'"events":"{own}/events","logs":"{own}/logs","cancel":"{own}/cancel"}}'.encode()
    )


def _error(error: TaskError | None, tracebacks: bool) -> _Error | None:
    if error is None:
        return None
    return _Error(error.type, error.message, error.traceback if tracebacks else UNSET)


def _progress(task: Task) -> _Progress | None:
    return None if task.progress is None else _Progress(task.progress.fraction, task.progress.message)


def _known(value: int | None) -> int | UnsetType:
    return UNSET if value is None else value


def _eta(view: View) -> float | UnsetType:
    return UNSET if view.eta_seconds is None else round(view.eta_seconds, 1)
