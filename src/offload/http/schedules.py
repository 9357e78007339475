"""Schedules over HTTP: made and changed by PUT, so that the same request may be sent again; read, deleted."""

import base64
import binascii
import contextlib
from typing import Any

import msgspec
from starlette.responses import Response

from offload.core.errors import JobDoesNotExist, OffloadError, WrongInput, WrongValue
from offload.core.job import Job
from offload.core.keys import OWNER
from offload.core.mark import NAME
from offload.core.recurrence import CATCH_UPS, CatchUp, Recurrence, read_recurrence
from offload.core.schedule import Definition, Schedule
from offload.core.schedule_errors import ScheduleDoesNotExist, WrongSchedule
from offload.core.task import Scope
from offload.http.call import Call
from offload.http.callback_options import checked_callback
from offload.http.fields import check_json_type, parse_json
from offload.http.options import from_body, no_option_fields
from offload.http.present import encode, json_answer, rfc3339
from offload.http.tasks import LIMIT_DEFAULT, read_limit

FIELDS = (
    "job", "input", "cron", "every", "timezone", "catch_up", "priority", "tags", "callback", "deadline", "paused",
)  # fmt: skip
SHOWN = ("name", "owner", "declared", "created_at", "changed_at", "next", "last", "fired", "missed", "trouble", "links")
"""What is told of a schedule and may be sent back: it says nothing then."""
NEXT_TIMES = 5
MISTAKES_MAX = 20


class _Given(msgspec.Struct):
    """The input exactly as it was sent."""

    input: msgspec.Raw = msgspec.Raw(b"{}")


async def list_schedules(call: Call) -> Response:
    """By name; admins see those of every owner."""
    limit, after = LIMIT_DEFAULT, ("", "")
    for name, value in call.query:
        if name == "limit":
            limit = read_limit(value)
        elif name == "cursor":
            after = _place_of(value)
        else:
            raise WrongValue(name[:80], "is not a parameter of this request; it takes `limit` and `cursor`")
    found = await call.engine.schedules.find(call.sees, after=after, limit=limit + 1)
    page = found[:limit]
    cursor = _cursor_of(page[-1]) if len(found) > limit else None
    return json_answer(encode({"schedules": [await _shown(call, each) for each in page], "next": cursor}))


async def get_schedule(call: Call) -> Response:
    owner, name = await _place(call)
    return json_answer(encode(await _shown(call, await call.engine.schedules.get(owner, name))))


async def put_schedule(call: Call) -> Response:
    """Make a schedule or change it. Raise WrongSchedule with every mistake, ScheduleIsDeclared."""
    no_option_fields(call)
    owner, name = await _place(call)
    if not NAME.fullmatch(name):
        raise WrongSchedule(f"the name of a schedule must match {NAME.pattern}, unlike {name[:80]!r}")
    what = _definition(call, await _json(call), name)
    key_id = call.key.id if call.key is not None and call.owner == owner else ""
    schedule, fresh = await call.engine.schedules.put(owner, name, what, key_id=key_id)
    response = json_answer(encode(await _shown(call, schedule)), 201 if fresh else 200)
    response.raw_headers.append((b"location", _path(call, schedule).encode()))
    return response


async def delete_schedule(call: Call) -> Response:
    """Forget a schedule; the tasks that it made stay. Answers with the schedule as it was."""
    await call.no_body()
    owner, name = await _place(call)
    return json_answer(encode(await _shown(call, await call.engine.schedules.delete(owner, name))))


async def _place(call: Call) -> tuple[str, str]:
    """Return whose schedule is meant, and its name: one's own, for admins also that of nobody, or `?owner=`."""
    name, given = call.parameters["name"], None
    if call.method != "PUT" and not NAME.fullmatch(name):
        raise ScheduleDoesNotExist(name)
    for key, value in call.query:
        if key != "owner":
            raise WrongValue(key[:80], "is not a parameter of this request; it takes `owner`")
        given = value
    if given is not None:
        if (given and not OWNER.fullmatch(given)) or (not call.admin and given != call.owner):
            raise ScheduleDoesNotExist(name)
        return given, name
    if call.admin and call.owner:
        store = call.engine.schedules
        try:
            await store.get(call.owner, name)
        except ScheduleDoesNotExist:
            with contextlib.suppress(ScheduleDoesNotExist):
                return (await store.get("", name)).owner, name
    return call.owner, name


async def _json(call: Call) -> bytes:
    check_json_type(call)
    return await call.body(call.config.json_bytes_max)


def _definition(call: Call, body: bytes, name: str) -> Definition:
    read = parse_json(body)
    if not isinstance(read, dict):
        raise WrongSchedule("the body must be a JSON object")
    mistakes: list[dict[str, Any]] = [
        {"loc": [field[:80]], "message": f"is not a field; fields are {', '.join(FIELDS)}"}
        for field in read
        if field not in FIELDS and field not in SHOWN
    ][:MISTAKES_MAX]
    if read.get("name", name) != name:
        mistakes.append({"loc": ["name"], "message": "is not the name in the address"})
    options = from_body(
        {key: read[key] for key in ("priority", "tags", "callback", "deadline") if key in read}, mistakes
    )
    recurrence = _recurrence(read, mistakes)
    catch_up: CatchUp = read.get("catch_up") or "last"
    paused = read.get("paused", False)
    if catch_up not in CATCH_UPS:
        mistakes.append({"loc": ["catch_up"], "message": f"must be one of {', '.join(CATCH_UPS)}"})
    if not isinstance(paused, bool):
        mistakes.append({"loc": ["paused"], "message": "must be true or false"})
    job = _job(call, read, mistakes)
    # how it is spaced makes no other schedule
    input = msgspec.json.format(bytes(msgspec.json.decode(body, type=_Given).input), indent=-1)
    if job is not None:
        _check_input(call, job, input, mistakes)
    if mistakes or job is None:
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['message']}" for one in mistakes[:3])
        raise WrongSchedule(f"the body does not describe a schedule: {said}", mistakes)
    if options.callback is not None:
        checked_callback(call, options.callback)
    return Definition(
        job=job.name,
        recurrence=recurrence,
        catch_up=catch_up,
        input=input,
        priority=options.priority,
        tags=options.tags,
        callback=options.callback,
        deadline_seconds=options.deadline_seconds,
        paused=paused,
    )


def _recurrence(read: dict[str, Any], mistakes: list[dict[str, Any]]) -> Recurrence:
    try:
        return read_recurrence(cron=read.get("cron"), every=read.get("every"), timezone=read.get("timezone"))
    except WrongSchedule as error:
        mistakes += map(dict, error.errors)
        return Recurrence()


def _job(call: Call, read: dict[str, Any], mistakes: list[dict[str, Any]]) -> Job | None:
    name = read.get("job")
    if not isinstance(name, str):
        mistakes.append({"loc": ["job"], "message": "must be the name of a job"})
        return None
    try:
        return call.engine.catalog.find(name)
    except JobDoesNotExist as error:
        mistakes.append({"loc": ["job"], "message": str(error)})
        return None


def _check_input(call: Call, job: Job, input: bytes, mistakes: list[dict[str, Any]]) -> None:
    """Check the input as each of its tasks will; a file must come from somewhere each time, so from a URL."""
    try:
        checked = job.schema.check_json(job.name, input)
    except WrongInput as error:
        mistakes += [{**one, "loc": ["input", *one["loc"]]} for one in error.errors[:MISTAKES_MAX]]
        return
    for source in checked.sources:
        loc = ["input", *source.field.split(".")]
        if source.kind != "url":
            message = "a schedule takes its files from http(s) URLs, anew for each task"
            mistakes.append({"loc": loc, "message": message})
            continue
        try:
            call.engine.check_url(source.value)
        except OffloadError as error:
            mistakes.append({"loc": loc, "message": str(error)})


async def _shown(call: Call, schedule: Schedule) -> dict[str, Any]:
    what, recurrence = schedule.what, schedule.what.recurrence
    times = []
    if schedule.next_at is not None:
        rest = recurrence.next_times(schedule.next_at, schedule.anchor_at, NEXT_TIMES - 1)
        times = [schedule.next_at, *rest]
    callback = what.callback
    return {
        "name": schedule.name,
        **({"owner": schedule.owner} if call.admin else {}),
        "job": what.job,
        "input": msgspec.Raw(what.input),
        "cron": recurrence.cron or None,
        "every": recurrence.every_seconds or None,
        "timezone": recurrence.timezone if recurrence.cron else None,
        "catch_up": what.catch_up,
        "priority": what.priority,
        "tags": what.tags,
        "callback": None if callback is None else msgspec.structs.asdict(callback),
        "deadline": what.deadline_seconds,
        "paused": what.paused,
        "declared": bool(schedule.declared_in),
        "created_at": rfc3339(schedule.created_at),
        "changed_at": rfc3339(schedule.changed_at),
        "next": [rfc3339(at) for at in times],
        "last": await _last(call, schedule),
        "fired": schedule.fired,
        "missed": schedule.missed,
        "trouble": call.engine.schedules.trouble(schedule),
        "links": {
            "self": _path(call, schedule),
            "tasks": f"{call.config.prefix}/v1/tasks?tag.schedule={schedule.name}",
        },
    }


async def _last(call: Call, schedule: Schedule) -> dict[str, Any] | None:
    """Return the last due time that made a task, and how that one is; its status is null once nothing is left of it."""
    if not schedule.last_task:
        return None
    task = await call.engine.parts.store.get(Scope(owner=schedule.owner), schedule.last_task)
    status = None if task is None else task.status
    return {"due_at": rfc3339(schedule.last_at), "task": schedule.last_task, "status": status}


def _path(call: Call, schedule: Schedule) -> str:
    return f"{call.config.prefix}/v1/schedules/{schedule.name}"


def _cursor_of(schedule: Schedule) -> str:
    return base64.urlsafe_b64encode(f"{schedule.name} {schedule.owner}".encode()).decode().rstrip("=")


def _place_of(cursor: str) -> tuple[str, str]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        name, space, owner = base64.b64decode(padded, altchars=b"-_", validate=True).decode().partition(" ")
    except (binascii.Error, ValueError):
        space = ""
    if not space:
        raise WrongValue("cursor", "is not one that this server gave")
    return name, owner
