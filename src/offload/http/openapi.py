"""openapi.json: every operation, each job with its own schemas, every problem."""

import copy
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from offload.core.catalog import Catalog
from offload.core.job import Job
from offload.http.config import HttpConfig
from offload.http.present import JSON_TYPE
from offload.http.problems import PROBLEM_TYPE, PROBLEMS
from offload.http.schemas import COMPONENTS, ref

Operation = dict[str, Any]

_ALWAYS = (400, 404, 413, 414, 415, 421, 431, 500, 503)
"""What any request may be answered: malformed, unknown, too large, for another host, our fault, not now."""
_WRITE = (*_ALWAYS, 403, 422, 507)


def build(catalog: Catalog, config: HttpConfig) -> dict[str, Any]:
    """Return the document for these jobs."""
    components = copy.deepcopy(COMPONENTS)
    components["Batch"]["properties"]["tasks"]["maxItems"] = config.batch_max
    paths = _paths(config)
    for job in catalog.jobs.values():
        paths[f"/v1/jobs/{job.name}"] = {"post": _submit(job, config)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "offload",
            "version": version("offload"),
            "summary": "Slow functions as a dependable HTTP service.",
            "description": (
                "Submit a task, get 202 at once, read its result when it is done. "
                "Every error is application/problem+json with a `code`. Every answer carries Offload-Request-Id."
            ),
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                str(status): _problem_response(status)
                for status in sorted({row[0] for row in PROBLEMS.values()} | {410, 429})
            },
            "headers": {name: {"schema": schema, "description": said} for name, (schema, said) in _HEADERS.items()},
        },
    }


_HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "Offload-Request-Id": ({"type": "string"}, "Names this request in the server's log; yours, if you sent one."),
    "Location": ({"type": "string"}, "The task."),
    "Retry-After": ({"type": "string", "pattern": "^[0-9]+$"}, "Seconds until it is worth asking again."),
    "ETag": ({"type": "string"}, "For If-None-Match."),
    "Idempotency-Replayed": ({"type": "string", "enum": ["true"]}, "This request had been made before."),
    "Preference-Applied": ({"type": "string"}, "What was honoured of Prefer."),
    "Content-Disposition": ({"type": "string"}, "The file's name."),
    "Accept-Ranges": ({"type": "string"}, "`bytes`: a part can be asked for by Range."),
}


def _paths(config: HttpConfig) -> dict[str, dict[str, Operation]]:
    task = _parameter("id", "path", {"type": "string", "format": "uuid"}, "The task's id.")
    queue = _parameter("queue", "path", {"type": "string", "minLength": 1}, "The queue's name.")
    wait = _parameter("wait", "query", {"type": "number", "minimum": 0, "maximum": 999_999_999}, f"Wait so many seconds (at most {config.wait_seconds_max:g}) for its end.")  # fmt: skip
    waits = [task, wait, _PREFER]
    creation = _json_body("Creation")
    steered = {200: _json("Task", "As it is now.", "Location", "Retry-After"), 202: _json("Task", "It will be done.", "Location", "Retry-After")}  # fmt: skip
    file_answers = {200: _any("The file.", *_FILE_HEADERS), 206: _any("The part that was asked for.", *_FILE_HEADERS), 304: {"description": "Not modified."}}  # fmt: skip
    return {
        "/v1/jobs": {"get": _op("List the jobs", "jobs", {200: _json("Jobs", "All jobs.")})},
        "/v1/jobs/{job}": {
            "get": _op("Describe a job", "jobs", {200: _json("Job", "The job.")}, [_parameter("job", "path", {"type": "string", "minLength": 1}, "Its name.")])
        },
        "/v1/tasks": {
            "get": _op("Find tasks, newest first", "tasks", {200: _json("Page", "A page.")}, _LIST_PARAMETERS),
            "post": _op("Create a task", "tasks", {201: _json("Task", "Created.", "Location", "Retry-After", "Idempotency-Replayed")}, [_KEY], creation, (409,)),
        },
        "/v1/tasks/batch": {
            "post": _op("Create many tasks, all or none", "tasks", {201: _json("Tasks", "Created.", "Idempotency-Replayed")}, [_KEY], _json_body("Batch"), (409,))
        },
        "/v1/tasks/{id}": {
            "get": _op("Read a task", "tasks", {200: _json("Task", "The task.", "ETag", "Retry-After", "Preference-Applied"), 304: {"description": "Not modified."}}, [*waits, _IF_NONE_MATCH]),
            "put": _op("Create a task under your own id", "tasks", {200: _json("Task", "It was there.", "Location", "Retry-After"), 201: _json("Task", "Created.", "Location", "Retry-After")}, [_own(task)], creation, (409,)),
            "delete": _op("Delete what a task holds", "tasks", {200: _json("Deleted", "Deleted.")}, [task], writes=True),
        },
        "/v1/tasks/{id}/run": {"post": _op("Run a created task", "tasks", steered, [task], more=(409,), writes=True)},
        "/v1/tasks/{id}/status": {
            "get": _op("Read only a task's state", "tasks", {200: _json("State", "The state.", "ETag", "Retry-After"), 304: {"description": "Not modified."}}, [*waits, _IF_NONE_MATCH])
        },
        "/v1/tasks/{id}/result": {
            "get": _op("Read the result", "tasks", {**file_answers, 202: _json("Task", "It has not ended.", "Retry-After")}, [*waits, _RANGE], more=(409, 410, 416))
        },
        "/v1/tasks/{id}/input/{name}": {
            "get": _op("Read an input file", "tasks", file_answers, [task, _parameter("name", "path", {"type": "string", "minLength": 1}, "The parameter, as in `images.2`."), _RANGE], more=(410, 416))
        },
        "/v1/tasks/{id}/events": {"get": _op("Follow a task (not available yet)", "tasks", {}, [task], more=(422,))},
        "/v1/tasks/{id}/logs": {"get": _op("Read what the attempts printed and logged", "tasks", {200: _any("The text.", kind="text/plain")}, [task])},
        "/v1/tasks/{id}/cancel": {"post": _op("Cancel a task", "tasks", steered, [task], more=(409,), writes=True)},
        "/v1/tasks/{id}/retry": {"post": _op("Try a failed or canceled task again", "tasks", {202: steered[202]}, [task], more=(409, 410), writes=True)},
        "/v1/files": {"post": _op("Store a file to name it later as file:{id}", "files", {201: _json("File", "Stored.")}, [_parameter("name", "query", {"type": "string", "maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f]*$"}, "The file's name.")], _FILE_BODY)},
        "/v1/queues": {"get": _op("List the queues", "queues", {200: _json("Queues", "All queues.")})},
        "/v1/queues/{queue}": {"get": _op("Read a queue", "queues", {200: _json("Queue", "The queue.")}, [queue])},
        "/v1/queues/{queue}/pause": {"post": _op("Stop claiming from a queue; accepting goes on", "queues", {200: _json("Queue", "Paused.")}, [queue], writes=True)},
        "/v1/queues/{queue}/resume": {"post": _op("Start claiming again", "queues", {200: _json("Queue", "Resumed.")}, [queue], writes=True)},
        "/healthz": {"get": _op("Is it alive?", "node", {200: _json("Alive", "Yes.")})},
        "/readyz": {"get": _op("Can it accept tasks and work on them?", "node", {200: _json("Ready", "Yes.")})},
        "/metrics": {"get": _op("Metrics for Prometheus", "node", {200: _any("The metrics.", kind="text/plain")})},
        "/openapi.json": {"get": _op("This document", "node", {200: {"description": "OpenAPI 3.1.", "content": {JSON_TYPE: {"schema": {"type": "object"}}}}})},
    }  # fmt: skip


def _submit(job: Job, config: HttpConfig) -> Operation:
    """Return the operation that runs this job, with its own schemas."""
    result: dict[str, Any] = (
        {"*/*": {"schema": {}}} if job.schema.returns_file else {JSON_TYPE: {"schema": job.schema.result or {}}}
    )
    answers = {
        200: {"description": "The result, when `Prefer: wait` was met.", "content": result, "headers": _headers("Location", "Preference-Applied", "Idempotency-Replayed")},
        202: _json("Task", "Accepted: it will be run.", "Location", "Retry-After", "Preference-Applied", "Idempotency-Replayed"),
        204: {"description": "Accepted, with `Prefer: return=minimal`.", "headers": _headers("Location", "Retry-After", "Preference-Applied", "Idempotency-Replayed")},
    }  # fmt: skip
    description = job.description or f"Runs {job.name}."
    operation = _op(f"Run {job.name}", "jobs", answers, [_PREFER, _KEY, *_OPTION_HEADERS], _input_body(job), (409, 410))
    return {**operation, "description": f"{description}\n\nQueue: {job.queue}. A body is at most {config.upload_bytes_max:,} bytes, JSON at most {config.json_bytes_max:,}."}  # fmt: skip


def _input_body(job: Job) -> dict[str, Any]:
    content: dict[str, Any] = {JSON_TYPE: {"schema": job.schema.input}}
    if job.schema.file_fields:
        content["multipart/form-data"] = {"schema": job.schema.input}
    return {"required": bool(job.schema.input.get("required")), "content": content}


def _op(
    summary: str, tag: str, answers: dict[int, Any], parameters: Sequence[Any] = (), body: Any = None,
    more: Iterable[int] = (), *, writes: bool = False,
) -> Operation:  # fmt: skip
    """Return one operation; `answers` are its successes, the problems are added."""
    problems = {*(_WRITE if body is not None or writes else _ALWAYS), *more, *([429] if body is not None else [])}
    for answer in answers.values():
        answer.setdefault("headers", {}).update(_headers("Offload-Request-Id"))
    responses = {str(status): answer for status, answer in answers.items()}
    responses.update({str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(problems)})
    operation: Operation = {"summary": summary, "tags": [tag], "responses": responses}
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = body
    return operation


def _problem_response(status: int) -> dict[str, Any]:
    codes = [code for code, row in PROBLEMS.items() if row[0] == status]
    codes += {410: ["TaskIsCanceled", "TaskIsDeleted"], 429: ["QueueFull"]}.get(status, [])
    code = codes[0]
    example = {
        "type": f"/docs#{code}",
        "title": PROBLEMS[code][1],
        "status": status,
        "detail": PROBLEMS[code][1] + ".",
        "code": code,
    }
    return {
        "description": " ".join(f"`{code}`: {PROBLEMS[code][1]}." for code in codes),
        "content": {PROBLEM_TYPE: {"schema": ref("Problem"), "example": example}},
        "headers": _headers("Offload-Request-Id", *(["Retry-After"] if status in (429, 503, 507) else [])),
    }


def _parameter(name: str, where: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": description}


def _own(task: dict[str, Any]) -> dict[str, Any]:
    pattern = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"
    return {
        **task,
        "schema": {"type": "string", "format": "uuid", "pattern": pattern},
        "description": "Your own UUID, version 4.",
    }


def _json(schema: str, description: str, *headers: str) -> dict[str, Any]:
    return {"description": description, "content": {JSON_TYPE: {"schema": ref(schema)}}, "headers": _headers(*headers)}


def _any(description: str, *headers: str, kind: str = "*/*") -> dict[str, Any]:
    schema = {"type": "string"} if kind.startswith("text/") else {}
    return {"description": description, "content": {kind: {"schema": schema}}, "headers": _headers(*headers)}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _json_body(schema: str) -> dict[str, Any]:
    return {"required": True, "content": {JSON_TYPE: {"schema": ref(schema)}}}


_FILE_HEADERS = ("ETag", "Accept-Ranges", "Content-Disposition")
_FILE_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"], "additionalProperties": False}
        },
    },
}  # fmt: skip
_TEXT = {"type": "string"}
_PREFER = _parameter("Prefer", "header", _TEXT, "`wait=n` waits n seconds for the end; `return=minimal` wants no body.")
_KEY = _parameter("Idempotency-Key", "header", {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"}, "The same key and request again: the same task again.")  # fmt: skip
_IF_NONE_MATCH = _parameter("If-None-Match", "header", _TEXT, "The ETag of the last answer.")
_RANGE = _parameter("Range", "header", _TEXT, "`bytes=a-b`, `bytes=a-` or `bytes=-n`.")
_TIME = {"type": "string", "format": "date-time"}
_OPTION_HEADERS = (
    _parameter("Offload-Priority", "header", {"type": "integer", "minimum": -100, "maximum": 100}, "Higher runs first."),
    _parameter("Offload-Delay", "header", {"type": "number", "minimum": 0, "maximum": 31_622_400}, "Seconds: not before."),
    _parameter("Offload-Run-At", "header", _TIME, "Not before; not together with Offload-Delay."),
    _parameter("Offload-Deadline", "header", {"type": "number", "exclusiveMinimum": 0, "maximum": 31_622_400}, "Seconds: not started by then, it FAILS unrun."),
    _parameter("Offload-Tags", "header", {"type": "string", "pattern": "^[a-z0-9]{1,20}=[a-z0-9]{0,20}(, ?[A-Z]{1,20}=[a-z0-9]{0,20})?$"}, "`a=1, b=2`."),
)  # fmt: skip
_LIST_PARAMETERS = (
    _parameter("job", "query", {"type": "string", "maxLength": 100}, "Of this job."),
    _parameter("queue", "query", {"type": "string", "maxLength": 100}, "In this queue."),
    {**_parameter("status", "query", {"type": "array", "items": {"type": "string", "enum": ["CREATED", "QUEUED", "RUNNING", "DONE", "FAILED", "CANCELED", "DELETED"]}}, "In one of these states. A tag is asked for as `tag.key=value`."), "style": "form", "explode": False},
    _parameter("created_after", "query", _TIME, "Created after this time."),
    _parameter("created_before", "query", _TIME, "Created before this time."),
    _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "How many."),
    _parameter("cursor", "query", {"type": "string"}, "`next` of the page before."),
)  # fmt: skip
