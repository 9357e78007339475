"""The JSON Schemas of what the server answers, for openapi.json."""

from typing import Any, get_args

from offload.core.keys import KeyScope
from offload.core.task import Moment, Reason, Status
from offload.http.problems import PROBLEMS

Schema = dict[str, Any]

EXAMPLE_ID = "8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34"


def text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **more}


def number(description: str = "", **more: Any) -> Schema:
    return {"type": "number", **({"description": description} if description else {}), **more}


def integer(description: str = "", **more: Any) -> Schema:
    return {"type": "integer", **({"description": description} if description else {}), **more}


def boolean(description: str = "") -> Schema:
    return {"type": "boolean", **({"description": description} if description else {})}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def array(of: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": of, **more}


def closed(properties: dict[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """Return an object that has these properties and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


TIME = text(format="date-time")
ID = text("The task's UUID.", format="uuid", examples=[EXAMPLE_ID])
TAGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}, "description": "For finding tasks."}

PROGRESS = nullable(closed({"fraction": nullable(number("From 0 to 1.")), "message": text()}))
ERROR = closed({"type": text(), "message": text(), "traceback": text()}, optional=("traceback",))
STATUS = text("Scheduled and waiting-to-retry are QUEUED with a later run_at.", enum=[str(status) for status in Status])
REASON = nullable(text("Why it FAILED or was CANCELED.", enum=[str(reason) for reason in Reason]))
POSITION = integer("How many tasks of the queue run before it; left out when unknown.", minimum=0)
ETA = number("Seconds until its end; left out when unknown.")

CALLBACK = closed({"url": text("Where to tell of it."), "events": array(text()), "body": text()})

TASK = closed(
    {
        "id": ID, "job": text(), "queue": text(), "status": STATUS, "reason": REASON,
        "attempt": integer("How often it was begun."), "max_attempts": integer(), "priority": integer(),
        "progress": PROGRESS, "position": POSITION, "eta_seconds": ETA,
        "created_at": TIME, "queued_at": nullable(TIME), "run_at": nullable(TIME), "started_at": nullable(TIME),
        "finished_at": nullable(TIME), "deadline_at": nullable(TIME), "expires_at": nullable(TIME),
        "input": {"type": "object", "description": "A file is an object with name, type, size and url."},
        "result": {"description": "A JSON result of up to 64 KiB; everything else is read at links.result."},
        "result_type": nullable(text("The result's media type.")), "result_size": nullable(integer("Bytes.")),
        "error": nullable(ERROR), "tags": TAGS, "callback": nullable(CALLBACK),
        "links": closed({name: text() for name in ("self", "status", "result", "events", "logs", "cancel")}),
    },
    optional=("position", "eta_seconds"),
)  # fmt: skip

STATE = closed(
    {"id": ID, "status": STATUS, "reason": REASON, "progress": PROGRESS, "position": POSITION, "eta_seconds": ETA},
    optional=("position", "eta_seconds"),
)

JOB = closed(
    {
        "name": text(), "description": text(), "queue": text(),
        "external": {"type": "boolean", "description": "Run by workers that lease its tasks."},
        "input": {"type": "object", "description": "JSON Schema of the input."},
        "result": nullable({"type": "object", "description": "JSON Schema of the result, if the job says."}),
        "result_type": nullable(text("application/json, or null when the job returns a file.")),
        "file_parameters": array(text()), "priority": integer(), "max_attempts": integer(),
        "timeout_seconds": nullable(number()), "memory_bytes": nullable(integer()),
        "result_bytes_max": nullable(integer()), "links": closed({"self": text(), "queue": text()}),
    }
)  # fmt: skip

QUEUE = closed(
    {
        "name": text(), "tasks": integer("Queued and running."), "queued": integer(), "ready": integer("Due."),
        "running": integer(), "bytes": integer("Input bytes of the queued and running."),
        "tasks_max": integer(), "bytes_max": integer(), "oldest_wait_seconds": nullable(number()),
        "arrivals_per_second": nullable(number()), "completions_per_second": nullable(number()),
        "predicted_wait_seconds": nullable(number()), "state": text(enum=["accepting", "full", "paused"]),
        "jobs": array(text()),
    }
)  # fmt: skip

NODE = closed(
    {
        "name": text(), "version": text(), "present": boolean("It was seen lately."), "started_at": TIME,
        "seen_at": TIME, "serves": boolean("It answers HTTP."), "stopping": boolean(), "workers": integer("Processes."),
        "running": integer("Attempts."), "jobs": array(text(), description="What its workers run."),
        "queues": array(text()), "looked_at": nullable(TIME), "completions_per_second": number(),
    }
)  # fmt: skip

FILE = closed({"id": ID, "size": integer("Bytes."), "type": text(), "sha256": text()})

CHECKS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
MISTAKE = closed({"loc": array({"type": ["string", "integer"]}), "message": text()})

PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457. `code` names the problem for programs and never changes its meaning.",
    "properties": {
        "type": text(format="uri-reference"), "title": text(), "status": integer(), "detail": text(),
        "code": text(enum=sorted(PROBLEMS)),
        "errors": array(MISTAKE), "index": integer("Which task of a batch."),
        "limit": integer(), "retry_after": integer("Seconds."),
        "error": nullable(ERROR), "reason": REASON, "task": text(),
        "checks": CHECKS, "scopes": array(text(), description="Which of the scopes the key would need."),
    },
    "required": ["type", "title", "status", "detail", "code"],
}  # fmt: skip

_SECONDS_MAX = 366 * 86_400

_URL: Schema = {"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": 4096}

CREATION: Schema = {
    "type": "object",
    "description": "A task to be.",
    "properties": {
        "job": text("The job's name."),
        "input": {"type": "object", "description": "The job's parameters. A file is a URL, a data: URL or file:{id}."},
        "run": {"type": "boolean", "default": False, "description": "Run it at once."},
        "priority": nullable(integer("Higher runs first.", minimum=-100, maximum=100)),
        "delay": nullable(number("Seconds: not before.", minimum=0, maximum=_SECONDS_MAX)),
        "run_at": nullable(text("Not before; not together with delay.", format="date-time")),
        "deadline": nullable(number("Seconds: not begun by then, it FAILS.", exclusiveMinimum=0, maximum=_SECONDS_MAX)),
        "tags": nullable(
            {
                "type": "object", "maxProperties": 32, "propertyNames": {"minLength": 1, "maxLength": 64},
                "additionalProperties": {"type": "string", "maxLength": 256},
            }
        ),
        "upload_to": nullable({**_URL, "description": "Where the result goes by PUT before the task is DONE."}),
        "callback": {
            "description": "Where to tell of the task: a URL, or an object that says what as well.",
            "anyOf": [_URL, {
                "type": "object", "required": ["url"], "additionalProperties": False,
                "properties": {
                    "url": _URL,
                    "events": nullable(array(text(enum=[*get_args(Moment)]), minItems=1)),
                    "body": nullable(text(enum=["event", "result"])),
                },
            }, {"type": "null"}],
        },
    },
    "required": ["job"],
    "additionalProperties": False,
}  # fmt: skip

SCOPES = array(text(enum=[str(scope) for scope in KeyScope]), minItems=1)
RATE = text("Requests in a time, as in 10/s, 600/m, 5000/h.", pattern="^[1-9][0-9]{0,8}/(s|m|h|d)$")
KEY_FIELDS: dict[str, Schema] = {
    "id": text("Names the key; no secret."), "owner": text(), "scopes": SCOPES, "created_at": TIME,
    "expires_at": nullable(TIME), "revoked_at": nullable(TIME), "last_used_at": nullable(TIME),
    "rate": nullable(RATE), "tasks_max": nullable(integer("Unfinished tasks of the owner.")),
    "bytes_max": nullable(integer("Bytes stored for the owner.")),
}  # fmt: skip
KEY_WISH = closed(
    {
        "owner": text(pattern="^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"), "scopes": SCOPES,
        "expires_seconds": nullable(number(minimum=1, maximum=100 * 366 * 86_400)), "rate": nullable(RATE),
        "tasks_max": nullable(integer(minimum=1, maximum=2**53 - 1)),
        "bytes_max": nullable(integer(minimum=1, maximum=2**53 - 1)),
    },
    optional=("expires_seconds", "rate", "tasks_max", "bytes_max"),
)  # fmt: skip
LINKS = closed(
    {
        "expires_at": TIME, "events": text(), "result": text(),
        "input": {"type": "object", "additionalProperties": text(), "description": "One for each input file."},
    }
)  # fmt: skip

COMPONENTS: dict[str, Schema] = {
    "Task": TASK,
    "State": STATE,
    "Tasks": closed({"tasks": array(ref("Task"))}),
    "Page": closed({"tasks": array(ref("Task")), "next": nullable(text("The cursor of the next page."))}),
    "Deleted": closed({"id": ID, "status": text(enum=["DELETED"])}),
    "Job": JOB,
    "Jobs": closed({"jobs": array(ref("Job"))}),
    "Queue": QUEUE,
    "Queues": closed({"queues": array(ref("Queue"))}),
    "Nodes": closed({"nodes": array(NODE)}),
    "File": FILE,
    "Problem": PROBLEM,
    "Creation": CREATION,
    "Batch": {
        "type": "object", "properties": {"tasks": array(ref("Creation"), minItems=1, maxItems=1000)},
        "required": ["tasks"], "additionalProperties": False,
    },
    "Key": closed(KEY_FIELDS),
    "Keys": closed({"keys": array(ref("Key"))}),
    "NewKey": closed({"key": text("The key itself."), **KEY_FIELDS}),
    "KeyWish": KEY_WISH,
    "Links": LINKS,
    "LinksWish": closed({"seconds": nullable(number(minimum=1, maximum=3600, default=300))}, optional=("seconds",)),
    "FileLinkWish": closed({"size": integer("Bytes.")}),
    "FileLink": closed(
        {
            "id": ID,
            "upload": closed({
                "method": text(enum=["PUT"]), "url": text(),
                "headers": {"type": "object", "additionalProperties": text(), "description": "To be sent as they are."},
            }),
            "expires_at": TIME,
            "confirm": text(description="POST there once it is uploaded."),
        }
    ),
    "ConfirmWish": closed({"name": text(), "type": text()}, optional=("name", "type")),
    "Alive": closed({"status": text(enum=["alive"])}),
    "Ready": closed({"status": text(enum=["ready"]), "checks": CHECKS}),
}  # fmt: skip
