"""How a task is to be run, as header fields of a submission or as fields of a creation."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict


class Callback(TypedDict, total=False):
    """Where, what and how to tell."""

    url: str
    events: Sequence[Literal["started", "progress", "done", "failed", "canceled"]]
    """The ends when left out."""
    body: Literal["event", "result"]
    """The task, or the result itself."""


class Options(TypedDict, total=False):
    """What can be said beside a task's input."""

    priority: int
    """-100 to 100; higher runs first."""
    delay_seconds: float
    """Do not start before so many seconds have passed."""
    run_at: datetime
    """Do not start before this time, which must have a zone; instead of `delay_seconds`."""
    deadline_seconds: float
    """When it has not started by then it FAILS with reason `deadline`."""
    tags: Mapping[str, str]
    """For finding it again."""
    callback: "str | Callback"
    """Where to tell of the task, as a signed POST."""
    upload_to: str
    """Where the result goes by PUT before the task is DONE."""
    idempotency_key: str
    """The same key makes the same task; one is made for each submission when this is left out."""


def as_fields(options: Options) -> dict[str, Any]:
    """Return options as fields of a JSON body."""
    fields: dict[str, Any] = {}
    if (priority := options.get("priority")) is not None:
        fields["priority"] = priority
    if (delay := options.get("delay_seconds")) is not None:
        fields["delay"] = delay
    if (run_at := options.get("run_at")) is not None:
        fields["run_at"] = _rfc3339(run_at)
    if (deadline := options.get("deadline_seconds")) is not None:
        fields["deadline"] = deadline
    if tags := options.get("tags"):
        fields["tags"] = {str(key): str(value) for key, value in tags.items()}
    if callback := options.get("callback"):
        fields["callback"] = callback if isinstance(callback, str) else _fields_of(callback)
    if upload_to := options.get("upload_to"):
        fields["upload_to"] = upload_to
    return fields


def as_header(options: Options) -> dict[str, str] | None:
    """Return options as header fields, or None when a tag cannot be said in one."""
    fields = as_fields(options)
    tags: dict[str, str] = fields.pop("tags", {})
    callback: str | dict[str, Any] = fields.pop("callback", {})
    if any(not _sayable(key, "=,") or not _sayable(value, ",") for key, value in tags.items()):
        return None
    header = {f"Offload-{name.replace('_', '-').title()}": _text(value) for name, value in fields.items()}
    header |= _callback_header({"url": callback} if isinstance(callback, str) else callback)
    if tags:
        header["Offload-Tags"] = ", ".join(f"{key}={value}" for key, value in tags.items())
    return header


def _fields_of(callback: Callback) -> dict[str, Any]:
    fields: dict[str, Any] = {**callback}
    return {**fields, "events": list(callback["events"])} if "events" in callback else fields


def _callback_header(callback: Mapping[str, Any]) -> dict[str, str]:
    """Return a callback as header fields; one that lacks its URL is for the server to refuse."""
    names = {"url": "Offload-Callback", "events": "Offload-Callback-Events", "body": "Offload-Callback-Body"}
    return {names[key]: value if isinstance(value, str) else ", ".join(value) for key, value in callback.items()}


def _text(value: object) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _sayable(text: str, without: str) -> bool:
    plain = text.isascii() and text.isprintable() and text == text.strip()
    return plain and not any(character in text for character in without)


def _rfc3339(at: datetime) -> str:
    if at.tzinfo is None:
        raise ValueError(f"run_at={at!r} has no zone; use datetime.now(timezone.utc) or .astimezone()")
    return at.isoformat()
