"""How a task is to be run: read from the header of a submission or the fields of a creation."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from offload.core.errors import EgressRefused, WrongValue
from offload.core.task import Callback, Seconds
from offload.http.call import Call
from offload.http.callback_options import (
    callback_body,
    callback_of_body,
    callback_of_header,
    callback_url,
    checked_callback,
    events_of_header,
)

TAGS_MAX, TAG_KEY_MAX, TAG_VALUE_MAX = 32, 64, 256
IDEMPOTENCY_KEY_MAX = 255

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)
NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
"""What JSON calls a number, not below zero."""
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about a task beside its job and input."""

    priority: int | None = None
    delay_seconds: Seconds | None = None
    run_at: Seconds | None = None
    deadline_seconds: Seconds | None = None
    tags: dict[str, str] = {}
    callback: Callback | None = None
    upload_to: str = ""
    idempotency_key: str | None = None


PLAIN = Options()


def from_header(call: Call) -> Options:
    """Read the `Offload-…` fields and the Idempotency-Key. Raise WrongValue, EgressRefused."""
    found: dict[str, Any] = {}
    for name in call.fields:
        if name.startswith(b"offload-") and name != b"offload-request-id":
            _read_field(call, name.decode("latin-1"), found)
        elif name == b"idempotency-key":
            found["idempotency_key"] = idempotency_key(call)
    if "upload_to" in found:
        check_upload_to(call, found["upload_to"])
    if "callback_url" in found:
        found["callback"] = checked_callback(call, callback_of_header(found))
    elif found.keys() & {"callback_events", "callback_body"}:
        raise WrongValue("Offload-Callback", "is missing: say where the callbacks shall go")
    return Options(**{name: value for name, value in found.items() if name in _NAMES}) if found else PLAIN


def _read_field(call: Call, name: str, found: dict[str, Any]) -> None:
    text = call.header(name.encode("latin-1")) or ""
    reader = _FIELDS.get(name)
    if reader is None:
        raise WrongValue(name, f"is not an option; options are {', '.join(_FIELDS)}")
    key, read = reader
    found[key] = read(name, text)


def no_option_fields(call: Call) -> None:
    """Refuse options in the header of a request that takes them in its body, rather than ignore them."""
    for name in call.fields:
        if name.startswith(b"offload-") and name != b"offload-request-id":
            shown = name.decode("latin-1")
            raise WrongValue(shown, "here options are fields of the body, such as `priority`")


def from_body(body: Mapping[str, Any], mistakes: list[dict[str, Any]]) -> Options:
    """Read the option fields of a creation; add what is wrong with them to `mistakes`."""
    found: dict[str, Any] = {}
    for name, (key, read) in _BODY_FIELDS.items():
        value = body.get(name)
        if value is None:
            continue
        try:
            found[key] = read(name, value)
        except WrongValue as error:
            mistakes.append({"loc": [name], "message": str(error).partition(": ")[2]})
    if "delay_seconds" in found and "run_at" in found:
        mistakes.append({"loc": ["run_at"], "message": "give either `delay` or `run_at`"})
    return Options(**found)


def check_upload_to(call: Call, url: str) -> None:
    """Refuse a URL to which no result would ever be sent. Raise EgressRefused."""
    try:
        call.engine.check_url(url)
    except EgressRefused as error:
        raise EgressRefused(f"upload_to: {error}") from None


def idempotency_key(call: Call) -> str | None:
    """Return the Idempotency-Key. Raise WrongValue."""
    key = call.header(b"idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise WrongValue("Idempotency-Key", f"must be 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters")
    return key


def read_time(name: str, value: object) -> Seconds:
    """Return the Unix time of an RFC 3339 text. Raise WrongValue."""
    wrong = WrongValue(name, "must be an RFC 3339 time with its zone, such as 2026-11-21T09:00:00Z")
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise wrong
    try:
        return datetime.fromisoformat(value.upper()).timestamp()
    except (ValueError, OverflowError):
        raise wrong from None


def check_text(name: str, text: object, length_max: int, *, what: str = "text") -> str:
    """Return a short text without control characters. Raise WrongValue."""
    if not isinstance(text, str):
        raise WrongValue(name, f"{what} must be a string")
    if len(text) > length_max:
        raise WrongValue(name, f"{what} is longer than {length_max} characters")
    if any(character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in text):
        raise WrongValue(name, f"{what} holds a control character or half a surrogate pair")
    return text


def _tags_of_header(name: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals:
            raise WrongValue(name, f"{part.strip()[:80]!r} is not of the form key=value")
        if key.strip() in found:
            raise WrongValue(name, f"the tag {key.strip()[:80]!r} is given twice")
        found[key.strip()] = value.strip()
    return _tags(name, found)


def _tags(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise WrongValue(name, "must be an object of strings")
    if len(value) > TAGS_MAX:
        raise WrongValue(name, f"holds more than {TAGS_MAX} tags")
    for key, text in value.items():
        if check_text(name, key, TAG_KEY_MAX, what="a key") == "":
            raise WrongValue(name, "a key is empty")
        check_text(name, text, TAG_VALUE_MAX, what=f"the value of {key!r}")
    return value


def _integer(name: str, value: object) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -100 <= value <= 100:
        raise WrongValue(name, "must be a whole number from -100 to 100")
    return value


def _seconds(name: str, value: object) -> Seconds:
    if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
        value = float(value)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= _SECONDS_MAX:
        raise WrongValue(name, f"must be a number of seconds from 0 to {_SECONDS_MAX}")
    return float(value)


def _from_text(read: Callable[[str, object], Any]) -> Callable[[str, str], Any]:
    return lambda name, text: read(name, text)


def _strictly(read: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    def checked(name: str, value: object) -> Any:
        return read(name, value if not isinstance(value, str) else [value])  # JSON has numbers: text is not one

    return checked


_SECONDS_MAX = 366 * 86_400
_FIELDS: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    "offload-priority": ("priority", _from_text(_integer)),
    "offload-delay": ("delay_seconds", _from_text(_seconds)),
    "offload-run-at": ("run_at", _from_text(read_time)),
    "offload-deadline": ("deadline_seconds", _from_text(_seconds)),
    "offload-tags": ("tags", _tags_of_header),
    "offload-upload-to": ("upload_to", callback_url),
    "offload-callback": ("callback_url", callback_url),
    "offload-callback-events": ("callback_events", events_of_header),
    "offload-callback-body": ("callback_body", callback_body),
}
_BODY_FIELDS: Mapping[str, tuple[str, Callable[[str, object], Any]]] = {
    "priority": ("priority", _strictly(_integer)),
    "delay": ("delay_seconds", _strictly(_seconds)),
    "run_at": ("run_at", read_time),
    "deadline": ("deadline_seconds", _strictly(_seconds)),
    "tags": ("tags", _tags),
    "callback": ("callback", callback_of_body),
    "upload_to": ("upload_to", callback_url),
}
_NAMES = frozenset(Options.__struct_fields__)
