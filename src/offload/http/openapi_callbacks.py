"""Callbacks in openapi.json: asking about them, and what the receivers that clients name are sent."""

from typing import Any

from offload.core.callback import DeliveryState
from offload.http.callback_options import BODIES, MOMENTS, URL_CHARACTERS_MAX
from offload.http.openapi_parts import Operation, answer, json_answer, json_body, operation, parameter
from offload.http.present import JSON_TYPE
from offload.http.schemas import EXAMPLE_ID, ID, TIME, Schema, array, closed, integer, nullable, number, ref, text

URL: Schema = {"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": URL_CHARACTERS_MAX}
EVENTS: Schema = array(text(enum=list(MOMENTS)), minItems=1)
BODY: Schema = {"type": "string", "enum": list(BODIES), "default": "event"}
EVENTS_PATTERN = "^(started|progress|done|failed|canceled)(, ?(started|progress|done|failed|canceled))*$"
CALLBACK_HEADERS = (
    parameter("Offload-Callback", "header", URL, "Where to tell of the task, as a signed POST."),
    parameter(
        "Offload-Callback-Events", "header", {"type": "string", "pattern": EVENTS_PATTERN},
        "What to tell, `done, failed, canceled` if left out. Only with Offload-Callback.",
    ),
    parameter(
        "Offload-Callback-Body", "header", BODY,
        "`event` sends the task, `result` the result itself. Only with Offload-Callback.",
    ),
)  # fmt: skip
TRY = closed(
    {
        "at": TIME,
        "status_code": nullable(integer("What the receiver answered.")),
        "error": nullable(text("Why there was no answer.")),
        "latency_seconds": number(),
        "answer": text("The first 1 KiB of what the receiver said."),
    }
)
DELIVERY = closed(
    {
        "id": text("The webhook-id: the same in every try."), "task": ID, "type": text(examples=["task.done"]),
        "url": text(), "body": text(enum=list(BODIES)), "state": text(enum=[str(state) for state in DeliveryState]),
        "tries": integer(), "created_at": TIME, "due_at": nullable(TIME), "last": nullable(ref("Try")),
    }
)  # fmt: skip
CALLBACK_COMPONENTS: dict[str, Schema] = {
    "Try": TRY,
    "Delivery": DELIVERY,
    "Deliveries": closed({"callbacks": array(ref("Delivery")), "next": nullable(text("The next page's cursor."))}),
    "Secret": closed(
        {
            "secret": text("What signs the callbacks.", pattern="^whsec_"),
            "previous": array(closed({"secret": text(), "valid_until": TIME}), maxItems=1),
        }
    ),
    "CallbackTest": closed({"url": URL}),
    "Event": closed(
        {"type": text(examples=["task.done"]), "timestamp": TIME, "data": ref("Task")},
    ),
}
_FIELDS = (
    parameter("webhook-id", "header", text(), "The same in every try of one event: drop what you had before."),
    parameter("webhook-timestamp", "header", text(), "When this try was made, as Unix time."),
    parameter("webhook-signature", "header", text(), "`v1,` and base64 of HMAC-SHA256; one for each valid secret."),
    parameter("Offload-Task-Id", "header", ID, "The task."),
    parameter("Offload-Task-Status", "header", text(), "The state that this tells."),
    parameter(
        "Offload-Response-Status",
        "header",
        text(pattern="^[2-5][0-9][0-9]$"),
        "Of a wrapped application whose answer this is: the status that it answered with.",
    ),
)
_ANSWERS = {
    "2XX": {"description": "Received."},
    "410": {"description": "Do not send this again."},
    "default": {"description": "Not received: it is tried again, not before Retry-After."},
}
TOLD: Operation = {
    "summary": "Tell of a task, signed as Standard Webhooks",
    "parameters": list(_FIELDS),
    "requestBody": {"content": {JSON_TYPE: {"schema": ref("Event")}, "*/*": {}}},
    "responses": _ANSWERS,
}
CALLBACKS_OF_HEADER = {"told": {"{$request.header.Offload-Callback}": {"post": TOLD}}}
CALLBACKS_OF_BODY = {"told": {"{$request.body#/callback}": {"post": TOLD}}}
WEBHOOKS = {
    f"task.{moment}": {"post": {**TOLD, "summary": f"Tell that a task {said}", "operationId": f"told_{moment}"}}
    for moment, said in {
        "started": "was started",
        "progress": "goes on",
        "done": "is done",
        "failed": "failed",
        "canceled": "was canceled",
    }.items()
}


def callback_paths() -> dict[str, Any]:
    state = {"type": "string", "enum": [str(state) for state in DeliveryState]}
    found = {
        200: answer("The secrets, the newest first.", {JSON_TYPE: ref("Secret")}),
    }
    return {
        "/v1/callbacks": {
            "get": operation(
                "Find callbacks, newest first",
                "callbacks",
                {200: json_answer("Deliveries", "A page.")},
                parameters=(
                    parameter("task", "query", {"type": "string", "format": "uuid", "example": EXAMPLE_ID}, "Of it."),
                    parameter("state", "query", state, "In this state."),
                    parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 1000}, "How many."),
                    parameter("cursor", "query", {"type": "string"}, "`next` of the page before."),
                ),
            )
        },
        "/v1/callbacks/{id}/replay": {
            "post": operation(
                "Send a callback again",
                "callbacks",
                {202: json_answer("Delivery", "It will be sent.")},
                parameters=[parameter("id", "path", {"type": "string", "minLength": 1}, "The callback's id.")],
                writes=True,
            )
        },
        "/v1/callbacks/test": {
            "post": operation(
                "Send a signed test event to a URL, once",
                "callbacks",
                {200: json_answer("Try", "How it went.")},
                body=json_body("CallbackTest"),
            )
        },
        "/v1/callbacks/secret": {"get": operation("Read what signs your callbacks", "callbacks", found)},
        "/v1/callbacks/secret/rotate": {
            "post": operation("Sign with a new secret; with the old one for a day too", "callbacks", found, writes=True)
        },
    }
