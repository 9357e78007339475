"""Leases: tasks of external jobs lent to workers in any language, and what those say of them."""

from typing import Any

from starlette.responses import Response

from offload.core.errors import ResultExpired, WrongValue
from offload.core.outcome import Failed
from offload.core.task import Progress, Reason, Seconds, Status, Task, TaskError
from offload.engine.lessor import Wish
from offload.http.call import Call
from offload.http.fields import read_fields
from offload.http.intake import FORM_TYPE
from offload.http.multipart import file_name_of
from offload.http.present import JSON_TYPE, encode, json_answer, rfc3339
from offload.http.problems import WrongContentType
from offload.http.serving import serve_file
from offload.http.uploads import safe_name, safe_type

LEASES_MAX = 100
NAMES_MAX = 100
BODY_BYTES_MAX = 64 * 1024
TEXT_MAX = 16 * 1024
LOG_BYTES_MAX = 32 * 1024
"""Of one call."""
RETRY_SECONDS_MAX = 366 * 86_400.0


async def lease(call: Call) -> Response:
    """Lend tasks, waiting for some if there are none; each is its worker's until `expires_at`."""
    body = await read_fields(call, ("queues", "jobs", "max", "wait"), bytes_max=BODY_BYTES_MAX)
    wish = Wish(queues=_names(body, "queues"), jobs=_names(body, "jobs"), most=_most(body))
    wait = min(_number(body, "wait", 0, 999_999_999) or 0.0, call.config.wait_seconds_max)
    lessor = call.engine.lessor
    tasks = await call.while_here(lessor.lease(call.sees, wish, wait_seconds=wait), unheard=lessor.give_back)
    if not tasks:
        return Response(status_code=204)
    shown = [call.engine.leases.message(task, prefix=call.config.prefix) for task in tasks]
    return _unkept(json_answer(encode(shown)))


async def beat(call: Call) -> Response:
    """Keep a lease, tell of progress, and learn whether the task was canceled meanwhile."""
    body = await read_fields(call, ("progress",), bytes_max=BODY_BYTES_MAX)
    found = await call.engine.leases.heartbeat(call.sees, call.parameters["lease"], _progress(body.get("progress")))
    return _unkept(json_answer(encode({"expires_at": rfc3339(found.expires_at), "canceled": found.canceled})))


async def log(call: Call) -> Response:
    """Add text to the log of an attempt."""
    said = await call.body(LOG_BYTES_MAX)
    left = await call.engine.leases.log(call.sees, call.parameters["lease"], said)
    return _unkept(json_answer(encode({"left_bytes": left})))


async def done(call: Call) -> Response:
    """Take a result: the JSON in the body, or without one the file that was uploaded."""
    json = await call.body(call.config.json_bytes_max)
    given = json if json.strip() else None
    if given is not None and call.content_type != JSON_TYPE:
        raise WrongContentType(f"a result is {JSON_TYPE}; a file goes to `upload_to` before")
    return _ended(await call.engine.leases.done(call.sees, call.parameters["lease"], given))


async def failed(call: Call) -> Response:
    """Take it that an attempt failed; what follows is as for every other attempt."""
    return _ended(await call.engine.leases.failed(call.sees, call.parameters["lease"], await _failure(call)))


async def _failure(call: Call) -> Failed:
    body = await read_fields(call, ("error", "retry", "retry_after"), bytes_max=BODY_BYTES_MAX)
    again = body.get("retry", True)
    if not isinstance(again, bool):
        raise WrongValue("retry", "must be true or false")
    return Failed(
        reason=Reason.ERROR,
        error=_error(body.get("error")),
        retry=again,
        retry_after_seconds=_number(body, "retry_after", 0, RETRY_SECONDS_MAX),
    )


async def get_input(call: Call) -> Response:
    """An input file, for whoever has the link while the lease is held."""
    text, name = call.parameters["link"], call.parameters["name"]
    file = await call.engine.leases.input_file(text, name)
    response = await serve_file(call, file, ResultExpired(f"input file {name!r} is no longer kept"))
    response.raw_headers.append((b"referrer-policy", b"no-referrer"))
    return response


async def put_result(call: Call) -> Response:
    """Store a file that `done` makes the result."""
    ends = _ends(call)
    leases, text = call.engine.leases, call.parameters["link"]
    if ends and call.content_type == JSON_TYPE and await leases.takes_json(text):
        return _ended(await leases.done_by_link(text, await call.body(call.config.json_bytes_max)))
    bytes_max = await leases.result_bytes_max(text)
    call.check_body(bytes_max)
    call.engine.gate.check_room(call.content_length or 0)
    given = dict(call.query).get("name") or file_name_of(call.header(b"content-disposition"))
    kind = safe_type("" if call.content_type == FORM_TYPE else call.content_type, given)
    name = safe_name(given, "result", kind)
    file = await leases.upload(text, call.chunks(bytes_max), name=name, type=kind)
    if ends:
        return _ended(await leases.done_by_link(text, None))
    shown = {"name": file.name, "type": file.type, "size": file.size, "sha256": file.sha256}
    return _unkept(json_answer(encode(shown)))


async def failed_by_link(call: Call) -> Response:
    """Take it that the attempt failed to which an upload's link belongs."""
    return _ended(await call.engine.leases.failed_by_link(call.parameters["link"], await _failure(call)))


def _ends(call: Call) -> bool:
    """Tell whether an upload is to end the attempt as well."""
    for name, value in call.query:
        if name == "done" and value not in ("true", "false"):
            raise WrongValue("done", "must be true or false")
        if name not in ("name", "done"):
            raise WrongValue(name[:80], "is not a parameter of this request; it takes `name` and `done`")
    return dict(call.query).get("done") == "true"


def _ended(task: Task) -> Response:
    """Say what became of the task; 202 while its result is still on its way to where it is wanted."""
    status = 202 if task.status is Status.RUNNING else 200
    return _unkept(json_answer(encode({"task": task.id, "status": task.status}), status))


def _unkept(response: Response) -> Response:
    response.raw_headers.append((b"cache-control", b"no-store"))
    return response


def _names(body: dict[str, Any], field: str) -> tuple[str, ...]:
    given = body.get(field)
    if given is None:
        return ()
    if not isinstance(given, list) or not 1 <= len(given) <= NAMES_MAX or not all(isinstance(n, str) for n in given):
        raise WrongValue(field, f"must be a list of 1 to {NAMES_MAX} names")
    return tuple(dict.fromkeys(given))


def _most(body: dict[str, Any]) -> int:
    given = body.get("max")
    if given is None:
        return 1
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= LEASES_MAX:
        raise WrongValue("max", f"must be a whole number from 1 to {LEASES_MAX}")
    return given


def _number(body: dict[str, Any], field: str, least: float, most: float) -> Seconds | None:
    given = body.get(field)
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not least <= given <= most:
        raise WrongValue(field, f"must be a number of seconds from {least:.0f} to {most:.0f}")
    return float(given)


def _progress(given: object) -> Progress | None:
    if given is None:
        return None
    if not isinstance(given, dict) or not set(given) <= {"fraction", "message"}:
        raise WrongValue("progress", 'must be an object such as {"fraction": 0.4, "message": "page 2 of 5"}')
    fraction, message = given.get("fraction"), given.get("message", "")
    if fraction is not None and (
        isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 <= fraction <= 1
    ):
        raise WrongValue("progress", "its fraction must be a number from 0 to 1")
    return Progress(fraction=None if fraction is None else float(fraction), message=_text(message, "progress"))


def _error(given: object) -> TaskError:
    if isinstance(given, str):
        return TaskError(type="WorkerError", message=_text(given, "error"))
    fields = {"type", "message", "traceback"}
    if not isinstance(given, dict) or not {"message"} <= set(given) <= fields:
        raise WrongValue("error", 'must be a text, or an object such as {"type": "ValueError", "message": "…"}')
    kind = _text(given.get("type", "WorkerError"), "error")
    return TaskError(
        type=kind[:200], message=_text(given["message"], "error"), traceback=_text(given.get("traceback", ""), "error")
    )


def _text(given: object, field: str) -> str:
    if not isinstance(given, str) or len(given) > TEXT_MAX:
        raise WrongValue(field, f"its texts must have at most {TEXT_MAX:,} characters")
    return given
