"""What comes out of a task: its result, its input files, its logs."""

from starlette.responses import Response

from offload.core.errors import (
    FileDoesNotExist,
    OffloadError,
    ResultExpired,
    TaskFailed,
    TaskIsCanceled,
    TaskIsDeleted,
)
from offload.core.task import FileRef, Reason, Status, Task
from offload.http.browsers import HELD_FIELDS
from offload.http.call import Call
from offload.http.messages import holds_message, serve_message
from offload.http.present import SECRET_TYPE, error_fields, json_answer, task_json, task_path
from offload.http.problems import problem
from offload.http.reading import task_of, wait_for
from offload.http.serving import FileAnswer, serve_file, serve_json


async def get_result(call: Call) -> Response:
    """The result itself, as JSON or as the file."""
    return await answer_result(call, await wait_for(call))


async def answer_result(call: Call, task: Task) -> Response:
    """Return what `GET …/result` answers for this task, with its Location."""
    if not task.final:
        view = await call.engine.view(task)
        response = json_answer(
            task_json(view, call.config.result_inline_bytes_max, call.config.prefix, tracebacks=call.admin), 202
        )
        response.raw_headers.append((b"retry-after", b"%d" % view.poll_seconds))
    elif not has_result(task):
        response = ended_without_result(task, tracebacks=call.admin)
    elif task.payload_dropped:
        response = problem(result_expired(task))
    else:
        response = await _kept(call, task)
        # an answer with this is the result, whatever its status: a result may be an answer that says 202 or 503 itself
        response.raw_headers.append((b"offload-task-status", task.status.encode()))
    if call.method == "POST" and not holds_message(call.config, task):  # which may have a Location of its own
        response.raw_headers.append((b"location", task_path(task, call.config.prefix).encode()))
    return response


def has_result(task: Task) -> bool:
    """Tell whether a task has one: it is DONE, or FAILED only to bring its result to where it was wanted."""
    left_behind = task.reason is Reason.UPLOAD_FAILED and task.status is Status.FAILED
    return task.status is Status.DONE or left_behind


def result_expired(task: Task) -> ResultExpired:
    return ResultExpired(f"the result of task {task.id} is no longer kept")


async def _kept(call: Call, task: Task) -> Response:
    if task.result_file is None:
        return serve_json(call, task.result or b"null", f'"{task.version}.{task.attempt}"')
    gone = result_expired(task)
    if holds_message(call.config, task):
        return await serve_message(call, task, gone)
    return await serve_file(call, task.result_file, gone)


def ended_without_result(task: Task, *, tracebacks: bool = False) -> Response:
    """Return what is said instead of a result; tracebacks are for admins."""
    if task.status is Status.FAILED:
        why = task.error.message if task.error is not None else str(task.reason)
        error: OffloadError = TaskFailed(
            f"task {task.id} failed: {why}",
            task=task.id,
            reason=task.reason,
            error=error_fields(task.error, tracebacks=tracebacks),
        )
        return problem(error)
    if task.status is Status.CANCELED:
        return problem(TaskIsCanceled(f"task {task.id} was canceled; it has no result", task=task.id), status=410)
    return problem(TaskIsDeleted(f"task {task.id} was deleted, with its result", task=task.id), status=410)


async def get_input(call: Call) -> Response:
    """One input file, as it was uploaded."""
    task = await task_of(call)
    if task.status is Status.DELETED:
        return input_deleted(task)
    return await serve_file(call, input_file(call, task), input_expired(task))


def input_file(call: Call, task: Task) -> FileRef:
    """Return the input file that the path names. Raise ResultExpired, FileDoesNotExist."""
    name = call.parameters["name"]
    if task.payload_dropped:
        raise input_expired(task)
    file = next((file for file in task.files if file.field == name and file.type != SECRET_TYPE), None)
    if file is None or file.url:  # not fetched yet: there is nothing to read
        raise FileDoesNotExist(name)
    return file


def input_deleted(task: Task) -> Response:
    return problem(TaskIsDeleted(f"task {task.id} was deleted, with its input", task=task.id), status=410)


def input_expired(task: Task) -> ResultExpired:
    return ResultExpired(f"the input of task {task.id} is no longer kept")


async def get_logs(call: Call) -> Response:
    """What the attempts printed and logged."""
    task = await task_of(call)
    lines = (line.encode("utf-8", "replace") async for line in call.engine.logs(call.sees, task.id))
    first = b"" if call.method == "HEAD" else await anext(lines, b"")
    response = FileAnswer(first, lines, 200) if first else Response(b"")
    response.raw_headers.append((b"content-type", b"text/plain; charset=utf-8"))
    response.raw_headers.extend(HELD_FIELDS)
    return response
