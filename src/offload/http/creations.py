"""Creating tasks from a description in JSON: one, one under the client's own id, or many at once."""

import hashlib
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from starlette.responses import Response

from offload.core.errors import (
    EgressRefused,
    JobDoesNotExist,
    NotAvailable,
    OffloadError,
    WrongInput,
    WrongJobDefinitionValue,
)
from offload.engine.orders import Order
from offload.engine.traffic import Place
from offload.http import intake
from offload.http.access import share
from offload.http.call import Call
from offload.http.callback_options import checked_callback
from offload.http.fields import check_json_type, parse_json
from offload.http.intake import Ticket
from offload.http.options import check_upload_to, from_body, idempotency_key, no_option_fields
from offload.http.present import json_answer, task_json, task_path, tasks_json
from offload.http.problems import WrongBody, problem
from offload.http.reading import own_id_of
from offload.http.uploads import Staging, create, create_all
from offload.ports import Added

FIELDS = ("job", "input", "run", "priority", "delay", "run_at", "deadline", "tags", "callback", "upload_to")
MISTAKES_MAX = 20


class _Inputs(msgspec.Struct):
    """The input exactly as it was sent."""

    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Batch(msgspec.Struct):
    tasks: list[msgspec.Raw] = []


class _Described(msgspec.Struct, frozen=True):
    ticket: Ticket
    input: bytes


async def create_task(call: Call) -> Response:
    """Create a task; run it too when the body says so."""
    return await _create_one(call, str(uuid.uuid4()), key=idempotency_key(call), own=False)


async def put_task(call: Call) -> Response:
    """Create a task under the client's own id; the same request again answers with the same task."""
    return await _create_one(call, own_id_of(call), key=None, own=True)


async def _create_one(call: Call, task_id: str, *, key: str | None, own: bool) -> Response:
    no_option_fields(call)
    body, read = await _json(call, call.config.json_bytes_max)
    described = _describe(call, read, body, task_id=task_id, keyed="PUT" if own else "POST" if key else "", key=key)
    # what is stored for a PUT lies apart until the task is known to be new: the id may have a task, with files
    prefix = f"t/{task_id}/in" + (f"/{uuid.uuid4().hex[:12]}" if own else "")
    held = await share(call, tasks=1, size=len(body))
    with held, _admit(call, described.ticket, body_bytes=len(body)) as place:
        async with Staging(call.engine.blobs, prefix, call.config.upload_bytes_max) as staging:
            order = await _order(call, described, staging)
            added = await create(call, order, place, staging)
        held.keep(added)
    return await _created(call, added, own=own)


async def _created(call: Call, added: Added, *, own: bool) -> Response:
    view = call.engine.views.at_once(added.task)
    response = json_answer(
        task_json(view, call.config.result_inline_bytes_max, call.config.prefix, tracebacks=call.admin),
        201 if added.fresh or not own else 200,
    )
    response.raw_headers.append((b"location", task_path(added.task, call.config.prefix).encode()))
    if not added.fresh and not own:
        response.raw_headers.append((b"idempotency-replayed", b"true"))
    if not added.task.final:
        response.raw_headers.append((b"retry-after", b"%d" % view.poll_seconds))
    return response


async def create_batch(call: Call) -> Response:
    """Create many tasks, all or none; an error names the index of the first bad one."""
    no_option_fields(call)
    key = idempotency_key(call)
    body, read = await _json(call, call.config.batch_bytes_max)
    items = _items(call, read)
    raws = msgspec.json.decode(body, type=_Batch).tasks
    keyed = "BATCH" + hashlib.sha256(body).hexdigest() if key else ""
    described = []
    for index, item in enumerate(items):
        own_key = None if key is None else f"{key}#{index}"
        try:
            described.append(_describe_item(call, item, bytes(raws[index]), keyed=keyed, key=own_key))
        except OffloadError as error:
            return _bad_one(error, index)
    async with AsyncExitStack() as stack:
        held = stack.enter_context(await share(call, tasks=len(described), size=len(body)))
        places = [stack.enter_context(place) for place in _places(call, described)]
        orders, stagings = [], []
        for index, one in enumerate(described):
            prefix = f"t/{one.ticket.id}/in"
            stagings.append(
                await stack.enter_async_context(Staging(call.engine.blobs, prefix, call.config.upload_bytes_max))
            )
            try:
                orders.append(await _order(call, one, stagings[-1]))
            except (WrongInput, WrongBody, EgressRefused) as error:
                return _bad_one(error, index)
        added = await create_all(call, orders, places, stagings)
        held.keep(*added)
    views = [call.engine.views.at_once(one.task) for one in added]
    response = json_answer(
        tasks_json(views, call.config.result_inline_bytes_max, call.config.prefix, tracebacks=call.admin), 201
    )
    if added and not any(one.fresh for one in added):
        response.raw_headers.append((b"idempotency-replayed", b"true"))
    return response


def _bad_one(error: OffloadError, index: int) -> Response:
    """Say what is wrong with one of a batch, and with which."""
    status = 422 if isinstance(error, NotAvailable | EgressRefused) else 400
    return problem(error, status=status, index=index)


def _items(call: Call, read: dict[str, Any]) -> list[Any]:
    items = read.get("tasks")
    if not isinstance(items, list) or set(read) != {"tasks"}:
        raise WrongJobDefinitionValue('the body must be {"tasks": […]} and nothing else')
    if not 1 <= len(items) <= call.config.batch_max:
        raise WrongJobDefinitionValue(f"a batch has 1 to {call.config.batch_max} tasks, not {len(items)}")
    return items


def _describe_item(call: Call, item: Any, raw: bytes, *, keyed: str, key: str | None) -> _Described:
    if not isinstance(item, dict):
        raise WrongJobDefinitionValue("a task must be a JSON object")
    return _describe(call, item, raw, task_id=str(uuid.uuid4()), keyed=keyed, key=key)


def _places(call: Call, described: list[_Described]) -> list[Place]:
    """Reserve room for all of a batch: one place for each queue, whatever its jobs."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    some_job: dict[str, str] = {}
    for one in described:
        job = one.ticket.job
        some_job.setdefault(job.queue, job.name)
        counts[job.queue] += one.ticket.run
        sizes[job.queue] += len(one.input) if one.ticket.run else 0
    places: list[Place] = []
    try:
        for queue, job_name in some_job.items():
            places.append(call.engine.admit(job_name, tasks=counts[queue], body_bytes=sizes[queue]))
    except OffloadError:
        for place in places:
            place.settle()
        raise
    return places


def _admit(call: Call, ticket: Ticket, *, body_bytes: int) -> Place:
    """Reserve room; a task that does not run yet takes none of its queue's."""
    run = ticket.run
    return call.engine.admit(ticket.job.name, tasks=1 if run else 0, body_bytes=body_bytes if run else 0)


async def _json(call: Call, bytes_max: int) -> tuple[bytes, dict[str, Any]]:
    check_json_type(call)
    body = await call.body(bytes_max)
    read = parse_json(body)
    if not isinstance(read, dict):
        raise WrongJobDefinitionValue("the body must be a JSON object")
    return body, read


def _describe(
    call: Call, read: dict[str, Any], body: bytes, *, task_id: str, keyed: str, key: str | None
) -> _Described:
    """Check everything but the input itself. Raise WrongJobDefinitionValue with every mistake."""
    mistakes = [
        {"loc": [name[:80]], "message": f"is not a field; fields are {', '.join(FIELDS)}"}
        for name in read
        if name not in FIELDS
    ][:MISTAKES_MAX]
    name, run = read.get("job"), read.get("run", False)
    job = None
    try:
        if not isinstance(name, str):
            raise WrongJobDefinitionValue("must be the name of a job")
        job = call.engine.catalog.find(name)
    except (JobDoesNotExist, WrongJobDefinitionValue) as error:
        mistakes.append({"loc": ["job"], "message": str(error)})
    if not isinstance(run, bool):
        mistakes.append({"loc": ["run"], "message": "must be true or false"})
    if not isinstance(read.get("input", {}), dict):
        mistakes.append({"loc": ["input"], "message": "must be a JSON object of the job's parameters"})
    options = from_body(read, mistakes)
    if mistakes or job is None:
        said = "; ".join(f"{mistake['loc'][0]}: {mistake['message']}" for mistake in mistakes[:3])
        raise WrongJobDefinitionValue(f"the body does not describe a task: {said}", mistakes)
    if options.callback is not None:
        checked_callback(call, options.callback)
    if options.upload_to:
        check_upload_to(call, options.upload_to)
    options = msgspec.structs.replace(options, idempotency_key=key)
    raw = msgspec.json.decode(body, type=_Inputs).input
    return _Described(Ticket(id=task_id, job=job, options=options, run=run, keyed=keyed), bytes(raw))


async def _order(call: Call, described: _Described, staging: Staging) -> Order:
    return await intake.json_order(call, described.ticket, described.input, staging)
