"""Where and how a client wants to be told: read from the header of a submission or the body of a creation."""

from collections.abc import Mapping
from typing import Any, get_args

from offload.core.errors import WrongValue
from offload.core.task import Callback, Moment
from offload.http.call import Call

MOMENTS: tuple[Moment, ...] = get_args(Moment)
BODIES = ("event", "result")
URL_CHARACTERS_MAX = 4096


def checked_callback(call: Call, callback: Callback) -> Callback:
    """Return it when the server would ever send there. Raise EgressRefused."""
    call.engine.callbacks.check(callback.url)
    return callback


def callback_of_header(found: Mapping[str, Any]) -> Callback:
    """Return what the `Offload-Callback…` fields say together."""
    names = {"events": "callback_events", "body": "callback_body"}
    return Callback(url=found["callback_url"], **{name: found[key] for name, key in names.items() if key in found})


def callback_of_body(name: str, value: object) -> Callback:
    """Return what a URL, or an object with one, says."""
    if isinstance(value, str):
        return Callback(url=callback_url(name, value))
    if not isinstance(value, dict) or not value.keys() <= {"url", "events", "body"} or "url" not in value:
        raise WrongValue(name, "must be a URL, or an object with `url` and perhaps `events` and `body`")
    given: dict[str, Any] = {"url": callback_url(name, value["url"])}
    if value.get("events") is not None:
        given["events"] = _events(name, value["events"])
    if value.get("body") is not None:
        given["body"] = callback_body(name, value["body"])
    return Callback(**given)


def callback_url(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise WrongValue(name, "the URL must be a string")
    if len(value) > URL_CHARACTERS_MAX:
        raise WrongValue(name, f"the URL is longer than {URL_CHARACTERS_MAX:,} characters")
    return value


def events_of_header(name: str, text: str) -> tuple[Moment, ...]:
    return _events(name, [part.strip() for part in text.split(",")])


def callback_body(name: str, value: object) -> str:
    if value not in BODIES:
        raise WrongValue(name, f"the body is one of {', '.join(BODIES)}")
    assert isinstance(value, str)
    return value


def _events(name: str, value: object) -> tuple[Moment, ...]:
    """Return the moments in the order of a task's life; an order or a repeat means nothing."""
    if not isinstance(value, list) or not value or any(each not in MOMENTS for each in value):
        raise WrongValue(name, f"events are one or more of {', '.join(MOMENTS)}")
    return tuple(moment for moment in MOMENTS if moment in value)
