"""The operations of openapi.json that are the same for every set of jobs, one after the other."""

from typing import Any

from offload.http.config import HttpConfig
from offload.http.openapi_parts import (
    FILE_ANSWERS,
    FILE_BODY,
    LIST_PARAMETERS,
    NOT_MODIFIED,
    PREVIEW_ANSWERS,
    TEXT,
    UUID4_PATTERN,
    Operation,
    answer,
    json_answer,
    json_body,
    operation,
    parameter,
)
from offload.http.present import JSON_TYPE

ID = parameter("id", "path", {"type": "string", "format": "uuid"}, "The task's id.")
OWN_ID = parameter("id", "path", {"type": "string", "format": "uuid", "pattern": UUID4_PATTERN}, "Your own UUID v4.")
NAME = {"type": "string", "minLength": 1, "maxLength": 100}
JOB = parameter("job", "path", NAME, "The job's name.")
QUEUE = parameter("queue", "path", NAME, "The queue's name.")
INPUT = parameter("name", "path", NAME, "The parameter, as in `image` or `images.2`.")
FILE_NAME = {"type": "string", "maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f]*$"}
KEY = {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"}
IDEMPOTENCY_KEY = parameter("Idempotency-Key", "header", KEY, "The same key and request again: the same task again.")
PREFER = parameter("Prefer", "header", TEXT, "`wait=n` waits n seconds for the end; `return=minimal` wants no body.")
IF_NONE_MATCH = parameter("If-None-Match", "header", TEXT, "The ETag of the last answer.")
PAGE = parameter("page", "query", {"type": "integer", "minimum": 1, "maximum": 999_999}, "Which page; 1 if not said.")
RANGE = parameter("Range", "header", TEXT, "`bytes=a-b`, `bytes=a-` or `bytes=-n`.")
LAST_EVENT_ID = parameter(
    "Last-Event-ID", "header", {"type": "string", "pattern": "^[0-9]{1,15}$"}, "Only what came after this event."
)
STEERED = ("Location", "Retry-After")


def paths(config: HttpConfig) -> dict[str, dict[str, Operation]]:
    wait = parameter(
        "wait",
        "query",
        {"type": "number", "minimum": 0, "maximum": 999_999_999},
        f"Wait so many seconds for its end, at most {config.wait_seconds_max:g}.",
    )
    of_tasks = {**_tasks(wait), **_outcomes(wait), **_previews(), **_steering()}
    return {**_jobs(), **of_tasks, **_files(), **_queues(), **_keys(), **_node()}


def _jobs() -> dict[str, Any]:
    return {
        "/v1/jobs": {"get": operation("List the jobs", "jobs", {200: json_answer("Jobs", "All jobs.")})},
        "/v1/jobs/{job}": {
            "get": operation("Describe a job", "jobs", {200: json_answer("Job", "The job.")}, parameters=[JOB])
        },
    }


def _tasks(wait: dict[str, Any]) -> dict[str, Any]:
    created = json_answer("Task", "Created.", *STEERED)
    there = json_answer("Task", "It was there already.", *STEERED)
    read = json_answer("Task", "The task.", "ETag", "Retry-After", "Preference-Applied")
    return {
        "/v1/tasks": {
            "get": operation(
                "Find tasks, newest first", "tasks", {200: json_answer("Page", "A page.")}, parameters=LIST_PARAMETERS
            ),
            "post": operation(
                "Create a task",
                "tasks",
                {201: json_answer("Task", "Created.", *STEERED, "Idempotency-Replayed")},
                parameters=[IDEMPOTENCY_KEY],
                body=json_body("Creation"),
            ),
        },
        "/v1/tasks/batch": {
            "post": operation(
                "Create many tasks, all or none",
                "tasks",
                {201: json_answer("Tasks", "Created.", "Idempotency-Replayed")},
                parameters=[IDEMPOTENCY_KEY],
                body=json_body("Batch"),
            )
        },
        "/v1/tasks/{id}": {
            "get": operation(
                "Read a task", "tasks", {200: read, 304: NOT_MODIFIED}, parameters=[ID, wait, PREFER, IF_NONE_MATCH]
            ),
            "put": operation(
                "Create a task under your own id",
                "tasks",
                {200: there, 201: created},
                parameters=[OWN_ID],
                body=json_body("Creation"),
                problems=(409,),
            ),
            "delete": operation(
                "Delete what a task holds",
                "tasks",
                {200: json_answer("Deleted", "Only its id and state are left.")},
                parameters=[ID],
                writes=True,
            ),
        },
    }


def _outcomes(wait: dict[str, Any]) -> dict[str, Any]:
    state = json_answer("State", "The state.", "ETag", "Retry-After", "Preference-Applied")
    unfinished = json_answer("Task", "It has not ended.", "Retry-After")
    return {
        "/v1/tasks/{id}/status": {
            "get": operation(
                "Read only a task's state",
                "tasks",
                {200: state, 304: NOT_MODIFIED},
                parameters=[ID, wait, PREFER, IF_NONE_MATCH],
            )
        },
        "/v1/tasks/{id}/result": {
            "get": operation(
                "Read the result",
                "tasks",
                {**FILE_ANSWERS, 202: unfinished},
                parameters=[ID, wait, PREFER, RANGE, IF_NONE_MATCH],
                problems=(409, 410, 416),
            )
        },
        "/v1/tasks/{id}/input/{name}": {
            "get": operation(
                "Read an input file",
                "tasks",
                FILE_ANSWERS,
                parameters=[ID, INPUT, RANGE, IF_NONE_MATCH],
                problems=(410, 416),
            )
        },
        "/v1/tasks/{id}/logs": {
            "get": operation(
                "Read what the attempts printed and logged",
                "tasks",
                {200: answer("The text, newest attempt last.", {"text/plain": TEXT})},
                parameters=[ID],
            )
        },
        "/v1/tasks/{id}/events": {
            "get": operation(
                "Follow a task as server-sent events, until its final status",
                "tasks",
                {200: answer("Events: status, progress, log, output.", {"text/event-stream": TEXT})},
                parameters=[ID, LAST_EVENT_ID],
            )
        },
    }


def _previews() -> dict[str, Any]:
    return {
        "/v1/tasks/{id}/result/preview": {
            "get": operation(
                "Read a page of a PDF result as a picture",
                "tasks",
                PREVIEW_ANSWERS,
                parameters=[ID, PAGE, IF_NONE_MATCH],
                problems=(409, 410, 422),
            )
        },
        "/v1/tasks/{id}/input/{name}/preview": {
            "get": operation(
                "Read a page of a PDF input file as a picture",
                "tasks",
                PREVIEW_ANSWERS,
                parameters=[ID, INPUT, PAGE, IF_NONE_MATCH],
                problems=(410, 422),
            )
        },
    }


def _steering() -> dict[str, Any]:
    done = json_answer("Task", "As it is now.", *STEERED)
    will = json_answer("Task", "It will be done.", *STEERED)
    return {
        "/v1/tasks/{id}/run": {
            "post": operation(
                "Run a created task", "tasks", {200: done, 202: will}, parameters=[ID], problems=(409,), writes=True
            )
        },
        "/v1/tasks/{id}/cancel": {
            "post": operation(
                "Cancel a task", "tasks", {200: done, 202: will}, parameters=[ID], problems=(409,), writes=True
            )
        },
        "/v1/tasks/{id}/retry": {
            "post": operation(
                "Try a failed or canceled task again",
                "tasks",
                {202: will},
                parameters=[ID],
                problems=(409, 410),
                writes=True,
            )
        },
    }


def _files() -> dict[str, Any]:
    return {
        "/v1/files": {
            "post": operation(
                "Store a file to name it later as file:{id}",
                "files",
                {201: json_answer("File", "Stored.")},
                parameters=[parameter("name", "query", FILE_NAME, "The file's name.")],
                body=FILE_BODY,
            )
        },
        "/v1/files/links": {
            "post": operation(
                "Ask where to upload a file past this server, into its object store",
                "files",
                {201: json_answer("FileLink", "Where to PUT it.")},
                body=json_body("FileLinkWish"),
            )
        },
        "/v1/files/{id}/confirm": {
            "post": operation(
                "Say that a file is uploaded, to name it later as file:{id}",
                "files",
                {201: json_answer("File", "Stored.")},
                parameters=[parameter("id", "path", NAME, "The id that came with the link.")],
                body={**json_body("ConfirmWish"), "required": False},
            )
        },
    }


def _queues() -> dict[str, Any]:
    queue = {200: json_answer("Queue", "The queue.")}
    return {
        "/v1/queues": {"get": operation("List the queues", "queues", {200: json_answer("Queues", "All queues.")})},
        "/v1/queues/{queue}": {"get": operation("Read a queue", "queues", queue, parameters=[QUEUE])},
        "/v1/queues/{queue}/pause": {
            "post": operation(
                "Stop claiming from a queue; accepting goes on", "queues", queue, parameters=[QUEUE], writes=True
            )
        },
        "/v1/queues/{queue}/resume": {
            "post": operation("Start claiming again", "queues", queue, parameters=[QUEUE], writes=True)
        },
    }


def _keys() -> dict[str, Any]:
    key = parameter("id", "path", NAME, "The key's id; never the key.")
    return {
        "/v1/keys": {
            "get": operation("List the API keys", "keys", {200: json_answer("Keys", "All keys.")}),
            "post": operation(
                "Make an API key",
                "keys",
                {201: json_answer("NewKey", "Made; `key` is told this once.")},
                body=json_body("KeyWish"),
            ),
        },
        "/v1/keys/{id}": {
            "delete": operation(
                "End an API key at once", "keys", {200: json_answer("Key", "Revoked.")}, parameters=[key], writes=True
            )
        },
        "/v1/tasks/{id}/links": {
            "post": operation(
                "Make signed links that a browser can read for a while",
                "tasks",
                {200: json_answer("Links", "The links.")},
                parameters=[ID],
                body={**json_body("LinksWish"), "required": False},
            )
        },
    }


def _node() -> dict[str, Any]:
    return {
        "/v1/nodes": {"get": operation("List the nodes of the store", "node", {200: json_answer("Nodes", "All.")})},
        "/healthz": {"get": operation("Is it alive?", "node", {200: json_answer("Alive", "Yes.")})},
        "/readyz": {
            "get": operation("Can it accept tasks and work on them?", "node", {200: json_answer("Ready", "Yes.")})
        },
        "/metrics": {
            "get": operation("Metrics for Prometheus", "node", {200: answer("The metrics.", {"text/plain": TEXT})})
        },
        "/openapi.json": {
            "get": operation("This document", "node", {200: answer("OpenAPI 3.1.", {JSON_TYPE: {"type": "object"}})})
        },
    }
