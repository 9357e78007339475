"""openapi.json: every operation, each job with its own schemas, every problem."""

import copy
from importlib.metadata import version
from typing import Any

from offload.core.catalog import Catalog
from offload.core.job import Job
from offload.core.keys import KeyScope
from offload.http.access import NEEDED
from offload.http.config import HttpConfig
from offload.http.openapi_callbacks import (
    CALLBACK_COMPONENTS,
    CALLBACK_HEADERS,
    CALLBACKS_OF_BODY,
    CALLBACKS_OF_HEADER,
    WEBHOOKS,
    callback_paths,
)
from offload.http.openapi_leases import LEASE_COMPONENTS, lease_paths
from offload.http.openapi_overview import OVERVIEW_SCHEMAS, overview_paths
from offload.http.openapi_parts import OPTION_HEADERS, Operation, answer, headers, json_answer, operation
from offload.http.openapi_paths import IDEMPOTENCY_KEY, JOB, PREFER, paths
from offload.http.openapi_schedules import SCHEDULE_COMPONENTS, schedule_paths
from offload.http.present import JSON_TYPE
from offload.http.problems import PROBLEM_TYPE, PROBLEMS
from offload.http.schemas import COMPONENTS, ref

ABOUT = (
    "Submit a task, get 202 at once, read its result when it is done. Every error is application/problem+json with "
    "a `code`. Every answer carries Offload-Request-Id."
)
HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "Offload-Request-Id": ({"type": "string"}, "Names this request in the server's log; yours, if you sent one."),
    "Location": ({"type": "string"}, "The task."),
    "Retry-After": ({"type": "string", "pattern": "^[0-9]+$"}, "Seconds until it is worth asking again."),
    "ETag": ({"type": "string"}, "For If-None-Match."),
    "Idempotency-Replayed": ({"type": "string", "enum": ["true"]}, "This request had been made before."),
    "Preference-Applied": ({"type": "string"}, "What was honoured of Prefer."),
    "Content-Disposition": ({"type": "string"}, "The file's name."),
    "RateLimit-Policy": ({"type": "string"}, 'The quotas of the key, as in `"requests";q=10;w=1`.'),
    "RateLimit": ({"type": "string"}, "What is left of them: `r`, and in `t` seconds more."),
    "Offload-Pages": ({"type": "string", "pattern": "^[0-9]+$"}, "How many pages the file has."),
    "Accept-Ranges": ({"type": "string"}, "`bytes`: a part can be asked for by Range."),
}
KEY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "`offload keys create` makes one. Needed for everything once the server has keys.",
}
OTHER_CODES = {410: ["TaskIsCanceled", "TaskIsDeleted"], 429: ["QueueFull"]}
"""Codes that the table of problems has under another status."""


def build(catalog: Catalog, config: HttpConfig) -> dict[str, Any]:
    """Return the document for these jobs."""
    components = copy.deepcopy(
        {**COMPONENTS, **CALLBACK_COMPONENTS, **LEASE_COMPONENTS, **OVERVIEW_SCHEMAS, **SCHEDULE_COMPONENTS}
    )
    components["Batch"]["properties"]["tasks"]["maxItems"] = config.batch_max
    for wish in ("Creation", "ScheduleWish"):
        components[wish]["properties"]["job"]["enum"] = list(catalog.jobs)
    statuses = sorted({status for status, _ in PROBLEMS.values()} | set(OTHER_CODES))
    everything: dict[str, Any] = {
        **paths(config),
        **callback_paths(),
        **lease_paths(),
        **overview_paths(),
        **schedule_paths(),
    }
    for path, method in (("/v1/tasks", "post"), ("/v1/tasks/{id}", "put")):
        everything[path][method]["callbacks"] = CALLBACKS_OF_BODY
    any_input = {"required": False, "content": {JSON_TYPE: {"schema": {"type": "object"}}}}
    everything["/v1/jobs/{job}"]["post"] = _submit("Run a job", {"*/*": {}}, any_input, JOB)
    for job in catalog.jobs.values():
        described = operation(f"Describe {job.name}", "jobs", {200: json_answer("Job", "The job.")})
        everything[f"/v1/jobs/{job.name}"] = {"post": submit_operation(job, config), "get": described}
    _say_scopes(everything)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "offload",
            "version": version("offload"),
            "summary": "Slow functions as a dependable HTTP service.",
            "description": ABOUT,
        },
        "servers": [{"url": "/"}],
        "paths": everything,
        "webhooks": WEBHOOKS,
        "security": [{"key": []}, {}],
        "components": {
            "schemas": components,
            "responses": {str(status): problem_response(status) for status in statuses},
            "securitySchemes": {"key": KEY_SCHEME},
            "headers": {name: {"schema": schema, "description": said} for name, (schema, said) in HEADERS.items()},
        },
    }


def _say_scopes(paths: dict[str, Any]) -> None:
    """Say for each operation which scopes let it be used; without keys all are for everybody."""
    for path, methods in paths.items():
        route = path if path in NEEDED else "/v1/jobs/{job}"
        for method, described in methods.items():
            needed = NEEDED[route].get(method.upper(), frozenset())
            described["security"] = [{"key": [str(scope)]} for scope in KeyScope if scope in needed] + [{}]


def submit_operation(job: Job, config: HttpConfig) -> Operation:
    """Return the operation that runs this job, with its own schemas."""
    result: dict[str, Any] = {"*/*": {}} if job.schema.returns_file else {JSON_TYPE: job.schema.result or {}}
    made = _submit(f"Run {job.name}", result, _input_body(job))
    if job.schema.returns_file:
        made["responses"]["304"] = answer("Not modified.", {})
    made["description"] = (
        f"{job.description or f'Runs {job.name}.'}\n\nQueue: {job.queue}. JSON is at most "
        f"{config.json_bytes_max:,} bytes, an upload {config.upload_bytes_max:,}."
    )
    return made


def _submit(summary: str, result: dict[str, Any], body: dict[str, Any], *parameters: dict[str, Any]) -> Operation:
    said = ("Location", "Preference-Applied", "Idempotency-Replayed")
    answers = {
        200: answer("The result, when `Prefer: wait` was met.", result, *said),
        202: json_answer("Task", "Accepted: it will be run.", "Retry-After", *said),
        204: answer("Accepted, with `Prefer: return=minimal`.", {}, "Retry-After", *said),
    }
    options = (*parameters, PREFER, IDEMPOTENCY_KEY, *OPTION_HEADERS, *CALLBACK_HEADERS)
    made = operation(summary, "jobs", answers, parameters=options, body=body, problems=(409, 410))
    return {**made, "callbacks": CALLBACKS_OF_HEADER}


def problem_response(status: int) -> dict[str, Any]:
    """Return the response of every problem with this status, with an example."""
    codes = [code for code, row in PROBLEMS.items() if row[0] == status] + OTHER_CODES.get(status, [])
    code, title = codes[0], PROBLEMS[codes[0]][1]
    example = {"type": f"/docs#{code}", "title": title, "status": status, "detail": f"{title}.", "code": code}
    retry = ("Retry-After",) if status in (429, 503, 507) else ()
    return {
        "description": " ".join(f"`{code}`: {PROBLEMS[code][1]}." for code in codes),
        "content": {PROBLEM_TYPE: {"schema": ref("Problem"), "example": example}},
        "headers": headers("Offload-Request-Id", *retry),
    }


def _input_body(job: Job) -> dict[str, Any]:
    content: dict[str, Any] = {JSON_TYPE: {"schema": job.schema.input}}
    if job.schema.file_fields:
        content["multipart/form-data"] = {"schema": job.schema.input}
    return {"required": bool(job.schema.input.get("required")), "content": content}
