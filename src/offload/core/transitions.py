"""What may happen to a task: one table, and the one pure function that applies it."""

from collections.abc import Mapping
from enum import StrEnum
from operator import attrgetter
from typing import Any

import msgspec

from offload.core.callback import Delivery, delivery_of
from offload.core.errors import TransitionRefused
from offload.core.outcome import Failed
from offload.core.retry import Retry
from offload.core.task import FileRef, Moment, Reason, Record, Seconds, Status, Task, TaskError, TaskEvent

LOSSES_MAX = 3
"""A task that took this many workers down is poison."""


class Event(StrEnum):
    RUN = "run"
    CLAIM = "claim"
    RELEASE = "release"
    SUCCEED = "succeed"
    RETRY = "retry"
    FAIL = "fail"
    ASK_CANCEL = "ask_cancel"
    """The client wants a RUNNING task to stop; it stays RUNNING until it has."""
    CANCEL = "cancel"
    EXPIRE = "expire"
    REVIVE = "revive"
    DELETE = "delete"


TABLE: Mapping[tuple[Status, Event], Status] = {
    (Status.CREATED, Event.RUN): Status.QUEUED,
    (Status.CREATED, Event.CANCEL): Status.CANCELED,
    (Status.CREATED, Event.DELETE): Status.DELETED,
    (Status.QUEUED, Event.CLAIM): Status.RUNNING,
    (Status.QUEUED, Event.CANCEL): Status.CANCELED,
    (Status.QUEUED, Event.EXPIRE): Status.FAILED,
    (Status.RUNNING, Event.RELEASE): Status.QUEUED,
    (Status.RUNNING, Event.SUCCEED): Status.DONE,
    (Status.RUNNING, Event.RETRY): Status.QUEUED,
    (Status.RUNNING, Event.FAIL): Status.FAILED,
    (Status.RUNNING, Event.ASK_CANCEL): Status.RUNNING,
    (Status.RUNNING, Event.CANCEL): Status.CANCELED,
    (Status.DONE, Event.DELETE): Status.DELETED,
    (Status.FAILED, Event.REVIVE): Status.QUEUED,
    (Status.FAILED, Event.DELETE): Status.DELETED,
    (Status.CANCELED, Event.REVIVE): Status.QUEUED,
    (Status.CANCELED, Event.DELETE): Status.DELETED,
}


_MOMENTS: Mapping[Event, Moment] = {
    Event.CLAIM: "started",
    Event.SUCCEED: "done",
    Event.FAIL: "failed",
    Event.EXPIRE: "failed",
    Event.CANCEL: "canceled",
}


class Facts(Record, frozen=True, kw_only=True):
    """What happened beside the event itself; each event reads the fields it needs."""

    now: Seconds
    run_at: Seconds | None = None
    lease_until: Seconds | None = None
    node: str | None = None
    result: bytes | None = None
    result_file: FileRef | None = None
    reason: Reason | None = None
    error: TaskError | None = None
    worker_died: bool = False
    begun: bool = True
    """False: the attempt that ends ran nothing, and is not counted."""
    keep_seconds: Seconds | None = None
    """How long the payload stays readable after the end."""
    log: tuple[TaskEvent, ...] = ()
    """What the attempt still had to say, kept before the status event."""


class Change(Record, frozen=True, kw_only=True):
    """A before and an after: written only if the task is still as it was when decided."""

    before: Task
    after: Task
    events: tuple[TaskEvent, ...]
    deliveries: tuple[Delivery, ...] = ()
    """The callbacks to send: they commit with the change, so that they cannot be forgotten."""


def allowed(status: Status, event: Event) -> bool:
    """Tell whether the table has this transition."""
    return (status, event) in TABLE


def decide(task: Task, event: Event, facts: Facts) -> Change:
    """Return the change that `event` makes to `task`, or raise TransitionRefused."""
    status = TABLE.get((task.status, event))
    if event is Event.CLAIM and task.run_at is not None and task.run_at > facts.now:
        # a claim may share a commit with the submit it waited for: nothing starts before it is due
        facts = msgspec.structs.replace(facts, now=task.run_at)
    if status is None:
        raise TransitionRefused(task.id, task.status, event)
    after = msgspec.structs.replace(task, status=status, version=task.version + 1, **_effect(task, event, facts))
    events = (*facts.log, status_event(after, facts.now))
    if task.callback is None or (moment := _MOMENTS.get(event)) not in task.callback.events:
        return Change(before=task, after=after, events=events)
    told = delivery_of(after, task.callback, moment, facts.now)
    return Change(before=task, after=after, events=events, deliveries=(told,))


def status_event(task: Task, now: Seconds) -> TaskEvent:
    """Return the event that tells a task's new state."""
    data: dict[str, Any] = {"status": task.status, "attempt": task.attempt}
    if task.reason is not None:
        data["reason"] = task.reason
    if task.cancel_requested and task.status is Status.RUNNING:
        data["cancel_requested"] = True
    if task.status is Status.QUEUED and task.run_at is not None and task.run_at > now:
        data["run_at"] = task.run_at
    if task.error is not None and task.status in (Status.QUEUED, Status.FAILED):
        data["error"] = {"type": task.error.type, "message": task.error.message}
    if task.node is not None:
        data["node"] = task.node
    return TaskEvent(kind="status", at=now, attempt=task.attempt, data=msgspec.json.encode(data))


def difference(change: Change) -> dict[str, Any]:
    """Return the fields a store writes: what changed, and only that, so that notes and renewals made meanwhile stay."""
    after = change.after
    pairs = zip(_FIELDS, _values(change.before), _values(after), strict=True)
    found = {name: new for name, old, new in pairs if new is not old and new != old}
    if after.status is Status.QUEUED:  # the decider's copy may not know of progress that was noted since
        found["progress"] = after.progress
    return found


def after_failure(task: Task, failed: Failed, retry: Retry, facts: Facts, *, chance: float) -> Change:
    """Return what a failed attempt means: another attempt later, or the end. `chance` in [0, 1) spreads retries."""
    assert task.status is Status.RUNNING
    losses = task.losses + failed.worker_died
    reason, again = failed.reason, failed.retry and task.attempt < task.max_attempts
    if failed.worker_died and losses >= LOSSES_MAX:
        reason, again = Reason.POISON, False
    facts = msgspec.structs.replace(
        facts, reason=reason, error=failed.error, worker_died=failed.worker_died, begun=failed.begun
    )
    if task.cancel_requested:
        return decide(task, Event.CANCEL, facts)
    if not again:
        return decide(task, Event.FAIL, facts)
    run_at = _next_run_at(task, failed, retry, facts.now, chance)
    return decide(task, Event.RETRY, msgspec.structs.replace(facts, run_at=run_at))


def _next_run_at(task: Task, failed: Failed, retry: Retry, now: Seconds, chance: float) -> Seconds | None:
    if failed.retry_after_seconds is not None:
        return now + failed.retry_after_seconds
    if failed.worker_died:
        return task.run_at  # not the task's fault as far as we know: back to the head of the line, at once
    return now + retry.delay_seconds(attempt=task.attempt, chance=chance)


def _effect(task: Task, event: Event, facts: Facts) -> dict[str, Any]:
    match event:
        case Event.RUN:
            return {"queued_at": facts.now, "run_at": max(facts.now, task.run_at or 0.0)}
        case Event.CLAIM:
            assert facts.lease_until is not None
            return {"attempt": task.attempt + 1, "started_at": facts.now, "progress": None,
                    "lease_until": facts.lease_until, "node": facts.node}  # fmt: skip
        case Event.RELEASE:
            return {"attempt": task.attempt - 1, **_let_go(), "started_at": None}
        case Event.RETRY:
            assert facts.run_at is not None
            return {
                "run_at": facts.run_at,
                "error": facts.error,
                "losses": task.losses + facts.worker_died,
                **_let_go(),
            }
        case Event.ASK_CANCEL:
            return {"cancel_requested": True}
        case Event.SUCCEED:
            return {"result": facts.result, "result_file": facts.result_file, "error": None, "upload_to": "",
                    **_end(facts)}  # fmt: skip
        case Event.FAIL:
            assert facts.reason is not None
            return {
                "reason": facts.reason,
                "error": facts.error,
                "attempt": task.attempt if facts.begun else task.attempt - 1,
                "result": facts.result,
                "result_file": facts.result_file,
                "losses": task.losses + facts.worker_died,
                **_end(facts),
            }
        case Event.CANCEL:
            return {"reason": Reason.CANCELED, **_end(facts)}
        case Event.EXPIRE:
            return {"reason": Reason.DEADLINE, **_end(facts)}
        case Event.REVIVE:
            return {"reason": None, "error": None, "finished_at": None, "expires_at": None, "deadline_at": None,
                    "losses": 0, "cancel_requested": False, "queued_at": facts.now, "run_at": facts.now,
                    "progress": None, "max_attempts": max(task.max_attempts, task.attempt + 1)}  # fmt: skip
        case Event.DELETE:
            return {"input": b"{}", "files": (), "result": None, "result_file": None, "error": None, "progress": None,
                    "tags": {}, "callback": None, "upload_to": "", "payload_dropped": True,
                    "finished_at": task.finished_at or facts.now}  # fmt: skip


def _let_go() -> dict[str, Any]:
    return {"lease_until": None, "node": None, "progress": None}


def _end(facts: Facts) -> dict[str, Any]:
    keep = facts.keep_seconds
    return {"finished_at": facts.now, "expires_at": None if keep is None else facts.now + keep,
            "lease_until": None, "cancel_requested": False}  # fmt: skip


_FIELDS = tuple(name for name in Task.__struct_fields__ if name not in ("key", "event_count"))  # these the store gives
_values = attrgetter(*_FIELDS)
