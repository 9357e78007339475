"""Tasks as rows and rows as tasks."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from offload.core.task import Callback, FileRef, Progress, Reason, Status, Task, TaskError, TaskEvent

Row = Sequence[Any]

TASK = """
    t.key, r.id, t.owner, t.job, t.queue, t.status, t.max_attempts, t.priority, r.created_at, t.queued_at, t.run_at,
    t.deadline_at, t.expires_at, t.version, t.event_count, t.input_bytes, r.tags, t.attempt, t.losses,
    t.cancel_requested, t.payload_dropped, t.reason, t.started_at, t.finished_at, t.lease_until, t.node, t.progress,
    t.callback, t.upload_to, r.input, r.files, r.traceparent, o.result, o.result_file, o.error
"""
WHOLE = "requests r JOIN tasks t ON t.key = r.key LEFT JOIN outcomes o ON o.key = r.key"
"""Where `TASK` is read from; the joins are lookups by key."""

REQUESTS = {
    "key": "bigint", "id": "text", "owner": "text", "job": "text", "queue": "text", "created_at": "float8",
    "fingerprint": "text", "input": "bytea", "files": "text", "tags": "text", "traceparent": "text",
}  # fmt: skip
"""The columns that hold what was asked, and their types."""
TASKS = {
    "key": "bigint", "owner": "text", "job": "text", "queue": "text", "status": "text", "ready": "boolean",
    "priority": "integer", "attempt": "integer", "max_attempts": "integer", "losses": "integer", "version": "integer",
    "event_count": "integer", "input_bytes": "bigint", "rank": "float8", "queued_at": "float8", "run_at": "float8",
    "started_at": "float8", "finished_at": "float8", "deadline_at": "float8", "expires_at": "float8",
    "lease_until": "float8", "node": "text", "reason": "text", "progress": "text", "callback": "text",
    "upload_to": "text", "cancel_requested": "boolean", "payload_dropped": "boolean",
}  # fmt: skip
"""The columns that change with a task's state, and their types."""
OUTCOMES = {"key": "bigint", "result": "bytea", "result_file": "text", "file_bytes": "bigint", "error": "text"}
EVENTS = {"key": "bigint", "n": "integer", "kind": "text", "at": "float8", "attempt": "integer", "data": "bytea"}

ASKED = frozenset({"input", "files", "tags"})
"""Fields of a task that do not change with its state: notes write the files, dropping forgets all of them."""
OUTCOME = frozenset({"result", "result_file", "error"})

_STATUS = {status.value: status for status in Status}
_REASON: dict[str | None, Reason | None] = {None: None, **{reason.value: reason for reason in Reason}}
_encode = msgspec.json.Encoder().encode
_files = msgspec.json.Decoder(tuple[FileRef, ...])
_file = msgspec.json.Decoder(FileRef)
error_from = msgspec.json.Decoder(TaskError).decode
_progress = msgspec.json.Decoder(Progress)
tags_from = msgspec.json.Decoder(dict[str, str]).decode
_callback = msgspec.json.Decoder(Callback)


def task_from(row: Iterable[Any]) -> Task:
    """Read what `SELECT TASK FROM WHOLE` gave."""
    (
        key, task_id, owner, job, queue, status, max_attempts, priority, created_at, queued_at, run_at,
        deadline_at, expires_at, version, event_count, input_bytes, tags, attempt, losses,
        cancel_requested, payload_dropped, reason, started_at, finished_at, lease_until, node, progress,
        callback, upload_to, input_json, files, traceparent, result, result_file, error,
    ) = row  # fmt: skip
    return Task(
        id=task_id,
        job=job,
        queue=queue,
        status=_STATUS[status],
        created_at=created_at,
        key=key,
        owner=owner,
        reason=_REASON[reason],
        attempt=attempt,
        max_attempts=max_attempts,
        losses=losses,
        priority=priority,
        queued_at=queued_at,
        run_at=run_at,
        started_at=started_at,
        finished_at=finished_at,
        deadline_at=deadline_at,
        expires_at=expires_at,
        lease_until=lease_until,
        node=node,
        cancel_requested=cancel_requested,
        version=version,
        event_count=event_count,
        input=input_json,
        files=() if files is None else _files.decode(files),
        input_bytes=input_bytes,
        result=result,
        result_file=None if result_file is None else _file.decode(result_file),
        error=None if error is None else error_from(error),
        progress=None if progress is None else _progress.decode(progress),
        tags={} if tags is None else tags_from(tags),
        callback=None if callback is None else _callback.decode(callback),
        upload_to=upload_to or "",
        traceparent=traceparent or "",
        payload_dropped=payload_dropped,
    )


def request_row(task: Task, fingerprint: str) -> Row:
    """Return the values of `REQUESTS`."""
    return (
        task.key, task.id, task.owner, task.job, task.queue, task.created_at, fingerprint, task.input,
        stored(task.files), stored(task.tags), task.traceparent or None,
    )  # fmt: skip


def task_row(task: Task, ready: bool) -> Row:
    """Return the values of `TASKS`."""
    return (
        task.key, task.owner, task.job, task.queue, task.status.value, ready, task.priority, task.attempt,
        task.max_attempts, task.losses, task.version, task.event_count, task.input_bytes,
        None if task.run_at is None else task.rank, task.queued_at, task.run_at, task.started_at, task.finished_at,
        task.deadline_at, task.expires_at, task.lease_until, task.node, stored(task.reason), stored(task.progress),
        stored(task.callback), task.upload_to or None, task.cancel_requested, task.payload_dropped,
    )  # fmt: skip


def outcome_row(key: int, task: Task) -> Row:
    """Return the values of `OUTCOMES`."""
    file = task.result_file
    return (key, task.result, None if file is None else stored(file), 0 if file is None else file.size,
            stored(task.error))  # fmt: skip


def event_from(row: Iterable[Any]) -> TaskEvent:
    n, kind, at, attempt, data = row
    return TaskEvent(kind=kind, at=at, attempt=attempt, data=data, n=n)


def stored(value: Any) -> Any:
    """Return a task's field as a column takes it: records as JSON text, empty ones as NULL."""
    if isinstance(value, msgspec.Struct | tuple | dict):
        return _encode(value).decode() if value else None
    return value.value if isinstance(value, Status | Reason) else value
