"""Leases in openapi.json: how workers in any language get tasks, keep them and end them."""

from typing import Any

from offload.http.leases import LEASES_MAX, LOG_BYTES_MAX, NAMES_MAX, RETRY_SECONDS_MAX
from offload.http.openapi_parts import FILE_ANSWERS, Operation, answer, json_answer, json_body, operation, parameter
from offload.http.present import JSON_TYPE
from offload.http.schemas import ID, STATUS, TIME, Schema, array, closed, integer, nullable, number, ref, text

LEASE = parameter("lease", "path", text(minLength=1, maxLength=400), "`lease`, as it was told.")
LINK = parameter("link", "path", text(minLength=1, maxLength=400), "Part of a signed link; it needs no key.")
FIELD = parameter("name", "path", text(minLength=1, maxLength=100), "The parameter, as in `image` or `images.2`.")
FILE_NAME = parameter("name", "query", text(maxLength=200, pattern=r"^[^\x00-\x1f\x7f]*$"), "The file's name.")
DONE = parameter(
    "done", "query", {"type": "string", "enum": ["true", "false"]}, "Whether this is all: the attempt ends with it."
)
_NAMES = nullable(array(text(), minItems=1, maxItems=NAMES_MAX))
_DETAIL = text(maxLength=16_384)

LEASE_COMPONENTS: dict[str, Schema] = {
    "LeaseWish": closed(
        {
            "queues": {**_NAMES, "description": "Of these queues; left out, of all."},
            "jobs": {**_NAMES, "description": "Of these jobs; left out, of all that are external."},
            "max": nullable(integer("How many at most.", minimum=1, maximum=LEASES_MAX, default=1)),
            "wait": nullable(number("Seconds to wait for one.", minimum=0, maximum=999_999_999, default=0)),
        },
        optional=("queues", "jobs", "max", "wait"),
    ),
    "Leases": array(
        closed(
            {
                "lease": text("Stands for this attempt in what is said of it."), "task": ID, "job": text(),
                "attempt": integer(), "input": {"description": "With name, type, size and url in place of a file."},
                "download_from": {"type": "object", "additionalProperties": text("Where to GET an input file.")},
                "upload_to": text("Where to PUT the result, if it is a file."), "expires_at": TIME,
                "heartbeat_seconds": number("How often to send a heartbeat."),
                "traceparent": text("The trace that the task belongs to; left out when there is none."),
            },
            optional=("traceparent",),
        )
    ),
    "Heartbeat": closed(
        {
            "progress": nullable(
                closed(
                    {"fraction": nullable(number(minimum=0, maximum=1)), "message": _DETAIL},
                    optional=("fraction", "message"),
                )
            )
        },
        optional=("progress",),
    ),
    "Beat": closed(
        {"expires_at": TIME, "canceled": {"type": "boolean", "description": "Stop, and confirm it with `failed`."}}
    ),
    "Logged": closed({"left_bytes": integer("How much more of it is kept.")}),
    "Failure": closed(
        {
            "error": {
                "anyOf": [
                    _DETAIL,
                    closed(
                        {"type": _DETAIL, "message": _DETAIL, "traceback": _DETAIL}, optional=("type", "traceback")
                    ),
                ]
            },
            "retry": {"type": "boolean", "default": True, "description": "False: trying again cannot help."},
            "retry_after": nullable(number("Seconds until the next attempt.", minimum=0, maximum=RETRY_SECONDS_MAX)),
        },
        optional=("retry", "retry_after"),
    ),
    "AttemptEnd": closed({"task": ID, "status": STATUS}),
    "Uploaded": closed({"name": text(), "type": text(), "size": integer("Bytes."), "sha256": text()}),
}  # fmt: skip


def lease_paths() -> dict[str, dict[str, Operation]]:
    return {**_said(), **_linked()}


def _said() -> dict[str, dict[str, Operation]]:
    ended = json_answer("AttemptEnd", "What became of the task.")
    optional: dict[str, Any] = {"required": False}
    return {
        "/v1/leases": {
            "post": operation(
                "Lease tasks of external jobs",
                "leases",
                {200: json_answer("Leases", "Yours until `expires_at`."), 204: answer("There were none.", {})},
                body={**json_body("LeaseWish"), **optional},
            )
        },
        "/v1/leases/{lease}/heartbeat": {
            "post": operation(
                "Keep a lease, tell of progress, learn of a cancel",
                "leases",
                {200: json_answer("Beat", "It is kept.")},
                parameters=[LEASE],
                body={**json_body("Heartbeat"), **optional},
                problems=(409,),
            )
        },
        "/v1/leases/{lease}/log": {
            "post": operation(
                "Add text to the log of an attempt",
                "leases",
                {200: json_answer("Logged", "It is kept as far as there is room.")},
                parameters=[LEASE],
                body={**optional, "content": {"text/plain": {"schema": text(maxLength=LOG_BYTES_MAX)}}},
                problems=(409,),
            )
        },
        "/v1/leases/{lease}/done": {
            "post": operation(
                "Give a result: the JSON in the body, or without one the file that was uploaded",
                "leases",
                {200: ended, 202: json_answer("AttemptEnd", "Taken; it is being brought where it is wanted.")},
                parameters=[LEASE],
                body={**optional, "content": {JSON_TYPE: {"schema": {}}}},
                problems=(409,),
            )
        },
        "/v1/leases/{lease}/failed": {
            "post": operation(
                "Say that an attempt failed, or confirm a cancel",
                "leases",
                {200: ended, 202: json_answer("AttemptEnd", "Taken.")},
                parameters=[LEASE],
                body=json_body("Failure"),
                problems=(409,),
            )
        },
    }


def _linked() -> dict[str, dict[str, Operation]]:
    return {
        "/v1/leases/{link}/input/{name}": {
            "get": operation(
                "Read an input file by its signed link",
                "leases",
                FILE_ANSWERS,
                parameters=[LINK, FIELD],
                problems=(409, 410, 416),
            )
        },
        "/v1/leases/{link}/result": {
            "put": operation(
                "Upload a file that `done` makes the result; again: in place of the one before",
                "leases",
                {
                    200: answer(
                        "Stored; with `done=true`, what became of the task.",
                        {JSON_TYPE: {"anyOf": [ref("Uploaded"), ref("AttemptEnd")]}},
                    ),
                    202: json_answer("AttemptEnd", "Taken; it is being brought where it is wanted."),
                },
                parameters=[LINK, FILE_NAME, DONE],
                body={"required": True, "content": {"*/*": {}}},
                problems=(409,),
            )
        },
        "/v1/leases/{link}/result/failed": {
            "post": operation(
                "Say by its upload's link that an attempt failed",
                "leases",
                {200: json_answer("AttemptEnd", "What became of the task."), 202: json_answer("AttemptEnd", "Taken.")},
                parameters=[LINK],
                body=json_body("Failure"),
                problems=(409,),
            )
        },
    }
