"""The operations of openapi.json behind the dashboard: how the node does, what it promises, who is signed in."""

from typing import Any

from offload.core.keys import KeyScope
from offload.http.openapi_parts import Operation, answer, json_answer, operation
from offload.http.schemas import NODE, Schema, array, closed, integer, nullable, number, ref, text

EVENTS = "text/event-stream"

WORKER = closed({
    "pid": integer(), "lane": text(), "tasks": array(text()), "busy_seconds": number(), "memory_bytes": integer(),
    "tasks_done": integer(),
})  # fmt: skip
HISTORY = closed({
    "now": text(format="date-time"),
    "until": number("The same as Unix time."),
    "step_seconds": number(),
    "kept_seconds": number(),
    "columns": array(text()),
    "queues": {
        "type": "object",
        "additionalProperties": array(array(number())),
        "description": "For each queue its rows, oldest first; steps in which nothing was are left out.",
    },
})  # fmt: skip
OVERVIEW = closed(
    {
        "changes": integer("Grows with whatever a list of tasks would show."),
        "queues": array(ref("Queue")),
        "jobs": array(closed({"name": text(), "queue": text()})),
        "ready": {"type": "boolean"},
        "checks": {"type": "object", "additionalProperties": text()},
        "workers": array(WORKER),
        "worker_deaths": integer("Since this node started."),
        "callback_hosts_failing": integer(),
        "nodes": array(NODE),
        "history": HISTORY,
    },
    optional=("ready", "checks", "workers", "worker_deaths", "callback_hosts_failing", "nodes"),
)
WORDS: Schema = {"type": "object", "additionalProperties": text()}
NUMBERS: Schema = {"type": "object", "additionalProperties": number()}
PROMISES = closed({
    "store": text(), "durability": text(), "broker": text(), "blobs": text(), "accepted": text("What a 202 means."),
    "recovery_seconds_max": number(), "outcome": text(), "order": text(), "delivery": text(), "limits": NUMBERS,
    "retention": NUMBERS, "stores": array(WORDS), "brokers": array(WORDS), "files": array(WORDS),
})  # fmt: skip
SESSION = closed(
    {
        "locked": {"type": "boolean", "description": "Whether a key is needed here."},
        "owner": nullable(text()),
        "scopes": array(text(enum=[str(scope) for scope in KeyScope])),
        "expires_at": text(format="date-time"),
    },
    optional=("expires_at",),
)
OVERVIEW_SCHEMAS: dict[str, Schema] = {"Overview": OVERVIEW, "Promises": PROMISES, "Session": SESSION}


def overview_paths() -> dict[str, dict[str, Operation]]:
    gone = answer("Signed out.", {})
    found: dict[str, Any] = {
        "/v1/overview": {
            "get": operation(
                "How the node does: queues, workers, the last hour", "node", {200: json_answer("Overview", "Now.")}
            )
        },
        "/v1/overview/events": {
            "get": operation(
                "The same as a stream: `overview` when something moved, `history` every ten seconds, `callbacks` with "
                "the `tasks` whose callbacks did (null: any)",
                "node",
                {200: answer("Events.", {EVENTS: {}})},
            )
        },
        "/v1/promises": {
            "get": operation("What this node promises", "node", {200: json_answer("Promises", "The promises.")})
        },
        "/v1/session": {
            "get": operation("Who asks", "keys", {200: json_answer("Session", "Who it is.")}),
            "post": operation(
                "Sign a browser in with the key of this request", "keys", {200: json_answer("Session", "Signed in.")},
                writes=True,
            ),
            "delete": operation("Sign a browser out", "keys", {204: gone}, writes=True),
        },
    }  # fmt: skip
    return found
