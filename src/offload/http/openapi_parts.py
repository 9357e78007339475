"""The parts that operations in openapi.json are made of."""

from collections.abc import Iterable, Mapping
from typing import Any

from offload.core.task import Status
from offload.http.present import JSON_TYPE
from offload.http.schemas import Schema, ref

Operation = dict[str, Any]

READ_PROBLEMS = (400, 401, 403, 404, 413, 414, 415, 421, 429, 431, 500, 503)
"""What any request may be answered: malformed, unknown, too large, meant for another host, our fault, not now."""
WRITE_PROBLEMS = (*READ_PROBLEMS, 408, 422, 507)

TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
URL: Schema = {"type": "string", "format": "uri", "maxLength": 4096}
SECONDS: Schema = {"type": "number", "minimum": 0, "maximum": 366 * 86_400}
DEADLINE: Schema = {"type": "number", "exclusiveMinimum": 0, "maximum": 366 * 86_400}
PRIORITY: Schema = {"type": "integer", "minimum": -100, "maximum": 100}
UUID4_PATTERN = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"
TAGS_PATTERN = "^[a-z0-9]{1,20}=[a-z0-9]{0,20}(, ?[A-Z]{1,20}=[a-z0-9]{0,20})?$"
"""Narrower than what is taken: a pattern for examples that are right."""


def operation(
    summary: str,
    tag: str,
    answers: Mapping[int, dict[str, Any]],
    *,
    parameters: Iterable[dict[str, Any]] = (),
    body: dict[str, Any] | None = None,
    problems: Iterable[int] = (),
    writes: bool = False,
) -> Operation:
    """Return one operation; `answers` are its successes, and the problems that any such request may meet are added."""
    statuses = {*(WRITE_PROBLEMS if body is not None or writes else READ_PROBLEMS), *problems}
    responses: dict[str, Any] = {str(status): found for status, found in answers.items()}
    responses.update({str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)})
    made: Operation = {"summary": summary, "tags": [tag], "responses": responses, "parameters": list(parameters)}
    if body is not None:
        made["requestBody"] = body
    return made


def answer(description: str, content: Mapping[str, Schema], *names: str) -> dict[str, Any]:
    """Return a response with these schemas by media type, and these headers."""
    found: dict[str, Any] = {"description": description, "headers": headers("Offload-Request-Id", *names)}
    if content:
        found["content"] = {kind: {"schema": schema} for kind, schema in content.items()}
    return found


def json_answer(schema: str, description: str, *names: str) -> dict[str, Any]:
    return answer(description, {JSON_TYPE: ref(schema)}, *names)


def headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def json_body(schema: str) -> dict[str, Any]:
    return {"required": True, "content": {JSON_TYPE: {"schema": ref(schema)}}}


def parameter(name: str, where: str, schema: Schema, description: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema, "description": description}


NOT_MODIFIED = answer("Not modified.", {}, "ETag")
FILE_ANSWERS = {
    200: answer("The whole.", {"*/*": {}}, "ETag", "Accept-Ranges"),
    206: answer("The part that was asked for.", {"*/*": {}}, "ETag", "Accept-Ranges"),
    304: NOT_MODIFIED,
    307: answer("A large file is read from the object store itself, if this server is set so.", {}, "Location"),
}
PREVIEW_ANSWERS = {
    200: answer("The page as a picture.", {"image/png": {}}, "ETag", "Offload-Pages"),
    304: NOT_MODIFIED,
}
FILE_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "string", "format": "binary"}},
                "required": ["file"],
                "additionalProperties": False,
            }
        },
    },
}
OPTION_HEADERS = (
    parameter("Offload-Priority", "header", PRIORITY, "Higher runs first."),
    parameter("Offload-Delay", "header", SECONDS, "Seconds: not before. Not together with Offload-Run-At."),
    parameter("Offload-Run-At", "header", TIME, "Not before this time. Not together with Offload-Delay."),
    parameter("Offload-Deadline", "header", DEADLINE, "Seconds: not started by then, it FAILS unrun."),
    parameter("Offload-Upload-To", "header", URL, "Where the result goes by PUT before the task is DONE."),
    parameter("Offload-Tags", "header", {"type": "string", "pattern": TAGS_PATTERN}, "`a=1, b=2`."),
)
STATUSES: Schema = {"type": "array", "items": {"type": "string", "enum": [str(status) for status in Status]}}
LIST_PARAMETERS = (
    parameter("job", "query", {"type": "string", "maxLength": 100}, "Of this job."),
    parameter("queue", "query", {"type": "string", "maxLength": 100}, "In this queue."),
    {
        **parameter("status", "query", STATUSES, "In one of these states. A tag is asked for as `tag.key=value`."),
        "style": "form",
        "explode": False,
    },
    parameter("created_after", "query", TIME, "Created after this time."),
    parameter("created_before", "query", TIME, "Created before this time."),
    parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}, "How many."),
    parameter("cursor", "query", TEXT, "`next` of the page before."),
)
