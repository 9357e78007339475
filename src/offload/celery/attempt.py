"""One attempt that Celery runs, and what the states of its messages mean for it."""

import uuid
from dataclasses import dataclass
from typing import Any

import msgspec

from offload.celery.wire import REVOKED, SENT, Meta
from offload.core.job import Job
from offload.core.outcome import Failed, Outcome, Succeeded
from offload.core.task import Progress, Reason, Seconds, Task, TaskError

IN_FLIGHT = frozenset({SENT, "RECEIVED", "STARTED", "RETRY"})
ENDED = frozenset({"SUCCESS", "FAILURE", REVOKED, "REJECTED", "IGNORED", "UNREADABLE"})
MESSAGE_CHARACTERS_MAX = 1000


@dataclass(slots=True, kw_only=True, eq=False)
class Attempt:
    """What this node knows of an attempt that it handed to Celery."""

    task: Task
    job: Job
    until: Seconds
    """When it has run for too long, on the monotonic clock."""
    message_id: str = ""
    """Empty until it is known which message is its own."""
    holder: str | None = None
    """The worker that had it when somebody last looked."""
    begun: bool = False
    """A worker had it at some time."""
    missing_since: Seconds | None = None
    stopping: Outcome | None = None
    """What it ends with once it has stopped."""
    ending: bool = False
    """Its result is being brought away."""
    progress: Progress | None = None
    told_at: Seconds = 0.0


def message_id_of(task_id: str, attempt: int) -> str:
    """Return the id of the message of an attempt; of the first it is the task's own."""
    return task_id if attempt == 1 else str(uuid.uuid5(uuid.UUID(task_id), str(attempt)))


def progress_of(meta: Meta) -> Progress | None:
    """Return what `update_state` said, whatever the task calls its state: `current` of `total`, or `fraction`."""
    if meta.status in IN_FLIGHT:
        return Progress(message="Celery tries it again") if meta.status == "RETRY" else None
    try:
        said = msgspec.json.decode(meta.result)
    except msgspec.DecodeError:
        return None
    if not isinstance(said, dict):
        return Progress(message=_short(said) if isinstance(said, str) else meta.status)
    current, total = _number(said.get("current", said.get("done"))), _number(said.get("total"))
    fraction = _number(said.get("fraction", said.get("progress")))
    if current is not None and total:
        fraction = current / total
    known = None if fraction is None else min(1.0, max(0.0, fraction))
    return Progress(fraction=known, message=_short(said.get("message") or said.get("status") or meta.status))


def outcome_of(meta: Meta) -> Outcome:
    """Return how an attempt ended whose message has ended. A result comes back as it is."""
    if meta.status == "SUCCESS":
        return Succeeded(json=bytes(meta.result))
    if meta.status == REVOKED:
        return _failed(Reason.ERROR, "TaskRevokedError", "somebody revoked it in Celery, or it expired there")
    if meta.status == "UNREADABLE":
        return _failed(Reason.ERROR, "ResultUnreadable", f"its result is not JSON: {_text(meta.result)}")
    kind, message = _error(meta)
    reason = Reason.ERROR
    if kind in ("TimeLimitExceeded", "SoftTimeLimitExceeded"):
        reason = Reason.TIMEOUT
    elif kind in ("WorkerLostError", "Terminated"):
        reason = Reason.WORKER_LOST
    return Failed(
        reason=reason, error=TaskError(type=kind, message=message, traceback=meta.traceback or ""), retry=False
    )


def lost(why: str, *, again: bool, begun: bool = False) -> Failed:
    """Return the end of an attempt of which nothing will be heard any more; one that had begun may be poison."""
    return Failed(
        reason=Reason.WORKER_LOST, error=TaskError(type="CeleryTaskLost", message=why), retry=again,
        worker_died=again and begun,
    )  # fmt: skip


def overdue(seconds: Seconds) -> Failed:
    message = f"Celery did not end it within {seconds:g} s"
    return Failed(reason=Reason.TIMEOUT, error=TaskError(type="TimeoutError", message=message))


def too_large(size: int, limit: int) -> Failed:
    return _failed(Reason.RESULT_TOO_LARGE, "ResultTooLarge", f"the result has {size:,} bytes; the limit is {limit:,}")


def _failed(reason: Reason, kind: str, message: str) -> Failed:
    return Failed(reason=reason, error=TaskError(type=kind, message=message), retry=False)


def _error(meta: Meta) -> tuple[str, str]:
    try:
        said = msgspec.json.decode(meta.result)
    except msgspec.DecodeError:
        said = None
    if not isinstance(said, dict):
        return meta.status.title(), _short(said) if said else "it ended without a result"
    message = said.get("exc_message", "")
    if isinstance(message, list):
        message = ", ".join(part if isinstance(part, str) else _plain(part) for part in message)
    return str(said.get("exc_type", meta.status.title())), str(message)


def _plain(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _text(raw: msgspec.Raw) -> str:
    try:
        return str(msgspec.json.decode(raw))
    except msgspec.DecodeError:
        return "…"


def _short(value: Any) -> str:
    return str(value)[:MESSAGE_CHARACTERS_MAX]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
