"""Schedules in openapi.json."""

from typing import Any

from offload.core.recurrence import CATCH_UPS, EVERY_SECONDS_MAX, EVERY_SECONDS_MIN
from offload.http.openapi_callbacks import BODY, EVENTS, URL
from offload.http.openapi_parts import DEADLINE, PRIORITY, answer, json_answer, json_body, operation, parameter
from offload.http.present import JSON_TYPE
from offload.http.schemas import ID, STATUS, TAGS, TIME, Schema, array, closed, integer, nullable, number, ref, text

CATCH_UP: Schema = {"type": "string", "enum": list(CATCH_UPS), "default": "last"}
EVERY: Schema = {
    "anyOf": [
        {"type": "number", "minimum": EVERY_SECONDS_MIN, "maximum": EVERY_SECONDS_MAX},
        {"type": "string", "pattern": "^[1-9][0-9]{0,2}[mh]$", "examples": ["5m"]},
    ],
    "description": 'Seconds, or text such as "5m" or "1h". Not together with `cron`.',
}
CRON = text(
    "Minute, hour, day of month, month, day of week; in local time of `timezone`. Not together with `every`.",
    examples=["30 2 * * mon-fri"],
    pattern="^([0-5]?[0-9]|\\*) ([01]?[0-9]|2[0-3]|\\*) (2[0-8]|1[0-9]|[1-9]|\\*) ([1-9]|1[0-2]|\\*) ([0-7]|\\*)$",
)
TIMEZONE = text("Of the IANA database; `UTC` if left out.", examples=["Europe/Berlin"])
CALLBACK_WISH: Schema = {
    "anyOf": [URL, closed({"url": URL, "events": EVENTS, "body": BODY}, optional=("events", "body"))],
}
WISH = {
    "job": text(),
    "input": {"type": "object", "description": "Of each task; files only as http(s) URLs."},
    "cron": CRON,
    "every": EVERY,
    "timezone": TIMEZONE,
    "catch_up": CATCH_UP,
    "priority": PRIORITY,
    "tags": TAGS,
    "callback": CALLBACK_WISH,
    "deadline": DEADLINE,
    "paused": {"type": "boolean", "default": False},
}
_PLAIN_CRON = {"type": "string", "description": "As it was given."}
SCHEDULE_COMPONENTS: dict[str, Schema] = {
    "ScheduleWish": closed(WISH, optional=tuple(name for name in WISH if name != "job")),
    "Schedule": closed(
        {
            "name": text(),
            "owner": text("Told to admins."),
            "job": text(),
            "input": {"type": "object"},
            "cron": nullable(_PLAIN_CRON),
            "every": nullable(number("Seconds.")),
            "timezone": nullable(text()),
            "catch_up": CATCH_UP,
            "priority": nullable(integer()),
            "tags": TAGS,
            "callback": nullable(closed({"url": text(), "events": array(text()), "body": text()})),
            "deadline": nullable(number()),
            "paused": {"type": "boolean"},
            "declared": {"type": "boolean", "description": "It stands in the code of its job."},
            "created_at": TIME,
            "changed_at": TIME,
            "next": array(TIME, description="The next due times; none while it is paused."),
            "last": nullable(closed({"due_at": TIME, "task": ID, "status": nullable(STATUS)})),
            "fired": integer("Due times that made a task."),
            "missed": integer("Due times that passed and made none, as `catch_up` says."),
            "trouble": nullable(text("Why nothing comes of it on this server.")),
            "links": closed({"self": text(), "tasks": text()}),
        },
        optional=("owner",),
    ),
    "Schedules": closed(
        {"schedules": array(ref("Schedule")), "next": nullable(text("The next page's cursor."))},
    ),
}


def schedule_paths() -> dict[str, Any]:
    name = parameter("name", "path", {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,63}$"}, "Yours to choose.")
    owner = parameter("owner", "query", {"type": "string", "maxLength": 64}, "For admins: whose it is.")
    one = [name, owner]
    made = answer("Made.", {JSON_TYPE: ref("Schedule")}, "Location")
    changed = answer("Changed, or as it was.", {JSON_TYPE: ref("Schedule")}, "Location")
    limit = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    return {
        "/v1/schedules": {
            "get": operation(
                "List schedules, by name",
                "schedules",
                {200: json_answer("Schedules", "A page.")},
                parameters=(
                    parameter("limit", "query", limit, "How many."),
                    parameter("cursor", "query", {"type": "string"}, "`next` of the page before."),
                ),
            )
        },
        "/v1/schedules/{name}": {
            "get": operation(
                "Read a schedule", "schedules", {200: json_answer("Schedule", "The schedule.")}, parameters=one
            ),
            "put": operation(
                "Make a schedule, or change it",
                "schedules",
                {200: changed, 201: made},
                parameters=one,
                body=json_body("ScheduleWish"),
                problems=(409,),
            ),
            "delete": operation(
                "Delete a schedule; its tasks stay",
                "schedules",
                {200: json_answer("Schedule", "As it was.")},
                parameters=one,
                problems=(409,),
                writes=True,
            ),
        },
    }
