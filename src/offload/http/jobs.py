"""What can be run: listing and describing jobs, and the one request that matters most, submitting a task."""

import uuid
from typing import Any

from starlette.responses import Response

from offload.core.job import Job
from offload.engine.views import View
from offload.http import intake, prefer, results
from offload.http.access import share
from offload.http.call import Call
from offload.http.options import from_header
from offload.http.present import JSON_TYPE, encode, json_answer, task_json, task_path
from offload.http.uploads import Staging, create
from offload.ports import Added


async def list_jobs(call: Call) -> Response:
    return json_answer(encode({"jobs": [describe(job) for job in call.engine.catalog.jobs.values()]}))


async def get_job(call: Call) -> Response:
    return json_answer(encode(describe(call.engine.catalog.find(call.parameters["job"]))))


async def submit(call: Call) -> Response:
    """Create a task from the body and run it. Room is reserved before the body is read."""
    engine = call.engine
    job = engine.catalog.find(call.parameters["job"])
    options = from_header(call)
    intake.check_announced(call)
    wished = prefer.read_preferences(call.header(b"prefer"), call.config.wait_seconds_max)
    ticket = intake.Ticket(
        id=str(uuid.uuid4()), job=job, options=options, keyed="POST" if options.idempotency_key else ""
    )
    size = call.content_length or 0
    with await share(call, tasks=1, size=size) as held, engine.admit(job.name, body_bytes=size) as place:
        async with Staging(engine.blobs, f"t/{ticket.id}/in", call.config.upload_bytes_max) as staging:
            order = await intake.read_order(call, ticket, staging)
            added = await create(call, order, place, staging)
        held.keep(added)
    return await answer(call, added, wished)


async def answer(call: Call, added: Added, wished: prefer.Preferences) -> Response:
    """Return the answer to a request that made a task, after the wait that the client asked for."""
    engine, task = call.engine, added.task
    if wished.wait_seconds and not task.final:
        task = await call.while_here(engine.wait(call.sees, task.id, wished.wait_seconds))
    if wished.wait_seconds and task.final:
        response = await results.answer_result(call, task)
    else:
        response = _accepted(call, engine.views.at_once(task), minimal=wished.minimal)
    if not added.fresh:
        response.raw_headers.append((b"idempotency-replayed", b"true"))
    said = prefer.applied(wished, minimal=response.status_code == 204)
    if said:
        response.raw_headers.append((b"preference-applied", said))
    return response


def _accepted(call: Call, view: View, *, minimal: bool) -> Response:
    if minimal:
        response = Response(status_code=204)
    else:
        response = json_answer(
            task_json(view, call.config.result_inline_bytes_max, call.config.prefix, tracebacks=call.admin), 202
        )
    response.raw_headers.append((b"location", task_path(view.task, call.config.prefix).encode()))
    if not view.task.final:
        response.raw_headers.append((b"retry-after", b"%d" % view.poll_seconds))
    return response


def describe(job: Job) -> dict[str, Any]:
    """Return what a client needs to know to call a job."""
    return {
        "name": job.name,
        "description": job.description,
        "queue": job.queue,
        "external": job.external,
        "input": job.schema.input,
        "result": job.schema.result,
        "result_type": None if job.schema.returns_file else JSON_TYPE,
        "file_parameters": list(job.schema.file_fields),
        "priority": job.priority,
        "max_attempts": job.retry.max_attempts,
        "timeout_seconds": job.timeout_seconds,
        "memory_bytes": job.memory_bytes,
        "result_bytes_max": job.result_bytes_max,
        "links": {"self": f"/v1/jobs/{job.name}", "queue": f"/v1/queues/{job.queue}"},
    }
