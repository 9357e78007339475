"""Tasks as rows and rows as tasks."""

from collections.abc import Sequence
from typing import Any

import msgspec

from offload.core.task import Callback, FileRef, Progress, Reason, Status, Task, TaskError, TaskEvent

Row = Sequence[Any]

TASK = """
    t.key, t.id, t.owner, t.job, t.queue, t.status, t.max_attempts, t.priority, t.created_at, t.queued_at, t.run_at,
    t.deadline_at, t.expires_at, t.version, t.event_count, t.input_bytes, t.tags, t.attempt, t.losses,
    t.cancel_requested, t.payload_dropped, t.reason, t.started_at, t.finished_at, t.lease_until, t.node, t.progress,
    t.callback, t.upload_to, p.input, p.files, p.traceparent, o.result, o.result_file, o.error
"""
WHOLE = "tasks t JOIN payloads p ON p.key = t.key LEFT JOIN outcomes o ON o.key = t.key"
"""Where `TASK` is read from; the joins are lookups by key."""

INSERTED = (
    "key, id, owner, job, queue, status, max_attempts, priority, created_at, queued_at, run_at, deadline_at, "
    "expires_at, version, event_count, input_bytes, tags, rank, ready, callback, "
    "upload_to"
)

PAYLOAD = frozenset({"input", "files"})
OUTCOME = frozenset({"result", "result_file", "error"})

_STATUS = {status.value: status for status in Status}
_REASON: dict[str | None, Reason | None] = {None: None, **{reason.value: reason for reason in Reason}}
_encode = msgspec.json.Encoder().encode
_files = msgspec.json.Decoder(tuple[FileRef, ...])
_file = msgspec.json.Decoder(FileRef)
_error = msgspec.json.Decoder(TaskError)
_progress = msgspec.json.Decoder(Progress)
_tags = msgspec.json.Decoder(dict[str, str])
_callback = msgspec.json.Decoder(Callback)


def task_from(row: Row) -> Task:
    """Read what `SELECT TASK FROM WHOLE` gave."""
    (
        key, task_id, owner, job, queue, status, max_attempts, priority, created_at, queued_at, run_at,
        deadline_at, expires_at, version, event_count, input_bytes, tags, attempt, losses,
        cancel_requested, payload_dropped, reason, started_at, finished_at, lease_until, node, progress,
        callback, upload_to, input_json, files, traceparent, result, result_file, error,
    ) = row  # fmt: skip
    return Task(
        id=id_from(task_id),
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
        cancel_requested=cancel_requested == 1,
        version=version,
        event_count=event_count,
        input=input_json,
        files=() if files is None else _files.decode(files),
        input_bytes=input_bytes,
        result=result,
        result_file=None if result_file is None else _file.decode(result_file),
        error=None if error is None else _error.decode(error),
        progress=None if progress is None else _progress.decode(progress),
        tags={} if tags is None else _tags.decode(tags),
        callback=None if callback is None else _callback.decode(callback),
        upload_to=upload_to or "",
        traceparent=traceparent or "",
        payload_dropped=payload_dropped == 1,
    )


def inserted(task: Task, ready: int) -> Row:
    """Return the values of the `INSERTED` columns."""
    return (
        task.key, id_stored(task.id), task.owner, task.job, task.queue, task.status.value, task.max_attempts,
        task.priority, task.created_at, task.queued_at, task.run_at, task.deadline_at, task.expires_at, task.version,
        task.event_count, task.input_bytes, stored(task.tags or None),
        None if task.run_at is None else task.rank, ready,
        None if task.callback is None else stored(task.callback), task.upload_to or None,
    )  # fmt: skip


def event_row(key: int, n: int, event: TaskEvent) -> Row:
    return (key, n, event.kind, event.at, event.attempt, event.data)


def event_from(row: Row) -> TaskEvent:
    n, kind, at, attempt, data = row
    return TaskEvent(kind=kind, at=at, attempt=attempt, data=data, n=n)


def stored(value: Any) -> Any:
    """Return a task's field as a column takes it: records as JSON text, empty ones as NULL."""
    if isinstance(value, msgspec.Struct | tuple | dict):
        return _encode(value).decode() if value else None
    return value.value if isinstance(value, Status | Reason) else value


def id_stored(task_id: str) -> bytes | str:
    """Return a UUID as its 16 bytes, which makes the index half as large; any other id as it is."""
    try:
        raw = bytes.fromhex(task_id.replace("-", ""))
    except ValueError:
        return task_id
    return raw if len(raw) == 16 and id_from(raw) == task_id else task_id


def id_from(value: bytes | str) -> str:
    if isinstance(value, str):
        return value
    h = value.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
