"""Reading, finding and steering tasks."""

import base64
import binascii
from typing import Any

from starlette.responses import Response

from offload.core.errors import WrongValue
from offload.core.task import Status, Task
from offload.http.access import share
from offload.http.call import Call
from offload.http.conditional import not_modified, task_etag
from offload.http.options import TAG_KEY_MAX, TAG_VALUE_MAX, check_text, read_time
from offload.http.present import encode, json_answer, state_json, task_json, task_path, tasks_json
from offload.http.reading import say_applied, task_id_of, wait_for
from offload.ports import Added, Filter

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000
NAME_MAX = 100


async def get_task(call: Call) -> Response:
    """The task; the same one as before is a 304."""
    return await _read(call, state_only=False)


async def get_status(call: Call) -> Response:
    """The little that changes."""
    return await _read(call, state_only=True)


async def _read(call: Call, *, state_only: bool) -> Response:
    task = await wait_for(call)
    etag = task_etag(task)
    if not_modified(call.header(b"if-none-match"), etag):
        view = call.engine.views.at_once(task)
        response = Response(status_code=304)
    else:
        view = await call.engine.view(task)
        body = (
            state_json(view)
            if state_only
            else task_json(view, call.config.result_inline_bytes_max, call.config.prefix, tracebacks=call.admin)
        )
        response = json_answer(body)
    response.raw_headers.append((b"etag", etag.encode()))
    response.raw_headers.append((b"cache-control", b"private, no-cache"))
    if not task.final:
        response.raw_headers.append((b"retry-after", b"%d" % view.poll_seconds))
    say_applied(call, response)
    return response


async def run_task(call: Call) -> Response:
    """CREATED to QUEUED; 200 when it was run already."""
    await call.no_body()
    task, was_created = await call.engine.run(call.sees, task_id_of(call))
    return _steered(call, task, 202 if was_created else 200)


async def cancel_task(call: Call) -> Response:
    """CANCELED at once, or 202 while a running attempt is being stopped."""
    await call.no_body()
    task = await call.engine.cancel(call.sees, task_id_of(call))
    return _steered(call, task, 200 if task.final else 202)


async def retry_task(call: Call) -> Response:
    """One more attempt for a task that FAILED or was CANCELED."""
    await call.no_body()
    with await share(call, tasks=1) as held:
        task = await call.engine.revive(call.sees, task_id_of(call))
        held.keep(Added(task=task, fresh=True))
    return _steered(call, task, 202)


async def delete_task(call: Call) -> Response:
    """Drop everything but the tombstone."""
    await call.no_body()
    task = await call.engine.delete(call.sees, task_id_of(call))
    return json_answer(encode({"id": task.id, "status": task.status}))


async def list_tasks(call: Call) -> Response:
    """Newest first, in pages that stay right while tasks come and go."""
    wanted = _filter(call)
    found = await call.engine.find(call.sees, wanted)
    page = found[: wanted.limit - 1]
    following = cursor_of(page[-1].key) if len(found) == wanted.limit else None
    views = [call.engine.views.at_once(task) for task in page]
    return json_answer(
        tasks_json(
            views, call.config.result_inline_bytes_max, call.config.prefix, tracebacks=call.admin, next=following
        )
    )


def _steered(call: Call, task: Task, status: int) -> Response:
    view = call.engine.views.at_once(task)
    response = json_answer(
        task_json(view, call.config.result_inline_bytes_max, call.config.prefix, tracebacks=call.admin), status
    )
    response.raw_headers.append((b"location", task_path(task, call.config.prefix).encode()))
    if not task.final:
        response.raw_headers.append((b"retry-after", b"%d" % view.poll_seconds))
    return response


def _filter(call: Call) -> Filter:
    """Return what the query asks for; one more than a page, to know whether there is another. Raise WrongValue."""
    found: dict[str, Any] = {"limit": LIMIT_DEFAULT + 1}
    tags: dict[str, str] = {}
    statuses: list[Status] = []
    seen: set[str] = set()
    for name, value in call.query:
        if name in seen and name != "status":
            raise WrongValue(name[:NAME_MAX], "is given twice")
        seen.add(name)
        if name.startswith("tag."):
            tags[check_text("tag", name[4:], TAG_KEY_MAX, what="a key")] = check_text(name, value, TAG_VALUE_MAX)
        elif name in ("job", "queue"):
            found[name] = check_text(name, value, NAME_MAX)
        elif name == "status":
            statuses.extend(_status(one) for one in value.split(","))
        elif name in ("created_after", "created_before"):
            found[name] = read_time(name, value.replace(" ", "+"))  # an unescaped + of a zone
        elif name == "limit":
            found["limit"] = read_limit(value) + 1
        elif name == "cursor":
            found["before_key"] = key_of(value)
        else:
            raise WrongValue(name[:NAME_MAX], "is not a parameter of this request")
    return Filter(tags=tags, statuses=tuple(statuses), **found)


def _status(value: str) -> Status:
    try:
        return Status(value)
    except ValueError:
        raise WrongValue("status", f"{value[:40]!r} is none of {', '.join(Status)}") from None


def read_limit(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) < 6 and 1 <= int(value) <= LIMIT_MAX):
        raise WrongValue("limit", f"must be a whole number from 1 to {LIMIT_MAX}")
    return int(value)


def cursor_of(key: int) -> str:
    return base64.urlsafe_b64encode(key.to_bytes(8, "big")).decode().rstrip("=")


def key_of(cursor: str) -> int:
    try:
        data = base64.b64decode(cursor + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != 8 or data[0] > 127:
        raise WrongValue("cursor", "is not one that this server gave")
    return int.from_bytes(data, "big")
