"""What a client orders, and the task it becomes."""

from offload.core.errors import WrongValue
from offload.core.job import Job
from offload.core.task import PRIORITY_MAX, Callback, FileRef, Record, Seconds, Status, Task
from offload.core.transitions import status_event
from offload.ports import NewTask

DELAY_SECONDS_MAX = 366 * 86_400.0


class Order(Record, frozen=True, kw_only=True):
    """A wish for one task. Its input was checked against the job's schema; its files are stored already."""

    id: str
    job: str
    owner: str = ""
    input: bytes = b"{}"
    files: tuple[FileRef, ...] = ()
    priority: int | None = None
    delay_seconds: Seconds | None = None
    run_at: Seconds | None = None
    deadline_seconds: Seconds | None = None
    tags: dict[str, str] = {}
    callback: Callback | None = None
    upload_to: str = ""
    traceparent: str = ""
    run: bool = True
    max_attempts: int | None = None
    """Fewer than the job has, for what may not be repeated."""
    idempotency_key: str | None = None
    fingerprint: str = ""


def new_task(order: Order, job: Job, now: Seconds) -> NewTask:
    """Return the task that `order` asks for, CREATED or already QUEUED. Raise WrongValue for options out of range."""
    _check(order, now)
    priority = job.priority if order.priority is None else order.priority
    run_at = order.run_at if order.delay_seconds is None else now + order.delay_seconds
    task = Task(
        id=order.id,
        owner=order.owner,
        job=job.name,
        queue=job.queue,
        status=Status.QUEUED if order.run else Status.CREATED,
        created_at=now,
        queued_at=now if order.run else None,
        run_at=max(now, run_at or now) if order.run else run_at,
        deadline_at=None if order.deadline_seconds is None else now + order.deadline_seconds,
        max_attempts=order.max_attempts or job.retry.max_attempts,
        priority=priority,
        input=order.input,
        files=order.files,
        input_bytes=len(order.input) + sum(file.size for file in order.files),
        tags=order.tags,
        callback=order.callback,
        upload_to=order.upload_to,
        traceparent=order.traceparent,
    )
    return NewTask(
        task=task,
        events=(status_event(task, now),),
        idempotency_key=order.idempotency_key,
        fingerprint=order.fingerprint,
    )


def _check(order: Order, now: Seconds) -> None:
    if order.priority is not None and not -PRIORITY_MAX <= order.priority <= PRIORITY_MAX:
        raise WrongValue("priority", f"{order.priority} is not between -{PRIORITY_MAX} and {PRIORITY_MAX}")
    if order.delay_seconds is not None and order.run_at is not None:
        raise WrongValue("run_at", "give either a delay or a time to run at, not both")
    if order.delay_seconds is not None and not 0 <= order.delay_seconds <= DELAY_SECONDS_MAX:
        raise WrongValue("delay", f"{order.delay_seconds} is not between 0 and {DELAY_SECONDS_MAX:.0f} seconds")
    if order.run_at is not None and order.run_at > now + DELAY_SECONDS_MAX:
        raise WrongValue("run_at", "is more than a year away")
    if order.deadline_seconds is not None and not 0 < order.deadline_seconds <= DELAY_SECONDS_MAX:
        raise WrongValue("deadline", f"{order.deadline_seconds} is not between 0 and {DELAY_SECONDS_MAX:.0f} seconds")
