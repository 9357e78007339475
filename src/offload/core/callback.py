"""Callbacks: the delivery that tells of a moment in a task's life, when it is tried again, and when it is given up."""

from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from offload.core.task import Callback, Moment, Reason, Record, Seconds, Status, Task

DAY_SECONDS = 86_400.0
WAITS_SECONDS = (0.0, 5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, DAY_SECONDS)
"""How long each try waits after the one before it; after the last, a delivery is given up."""
JITTER = 0.1
"""So much later by chance, as a part of the wait: receivers that were down do not get all of it in one moment."""
PROGRESS_SECONDS = 1.0
"""How long progress is gathered before it is told."""
ANSWER_BYTES_KEPT = 1024
GONE = 410
_PORTS = {"http": 80, "https": 443}


class DeliveryState(StrEnum):
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    GIVEN_UP = "GIVEN_UP"


class Told(Record, frozen=True, kw_only=True):
    """The state that a delivery tells, which is the state as it was stored with it."""

    status: Status
    attempt: int
    at: Seconds
    reason: Reason | None = None


class Try(Record, frozen=True, kw_only=True):
    """How one try went: an answer, or why there was none."""

    at: Seconds
    latency_seconds: Seconds
    status_code: int | None = None
    error: str = ""
    answer: bytes = b""
    """The first 1 KiB of what the receiver said."""

    @property
    def accepted(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300


class Delivery(Record, frozen=True, kw_only=True):
    """One callback to send."""

    id: str
    """The `webhook-id`: the same in every try, and after every restart."""
    task_id: str
    type: str
    url: str
    body: Literal["event", "result"]
    told: Told
    host: str
    """Whose turns it takes: host and port of the URL."""
    created_at: Seconds
    due_at: Seconds
    owner: str = ""
    state: DeliveryState = DeliveryState.PENDING
    tries: int = 0
    """Grows with every try: the fence that stops a late report."""
    step: int = 0
    """How many tries there were since it was made or replayed: the place in the schedule."""
    lease_until: Seconds | None = None
    """Not None: it is being sent."""
    last: Try | None = None
    key: int = 0
    """Given by the store: the order in which deliveries were made."""


def delivery_of(task: Task, callback: Callback, moment: Moment, now: Seconds) -> Delivery:
    """Return what tells that `task` has just come into its state; the same change always makes the same delivery."""
    name = f"msg_{task.id.replace('-', '')}_{task.version}"
    is_progress = moment == "progress"  # which makes no new version
    return Delivery(
        id=f"{name}_{int(now * 1000):x}" if is_progress else name,
        task_id=task.id,
        type=f"task.{moment}",
        url=callback.url,
        body=callback.body,
        told=Told(status=task.status, attempt=task.attempt, at=now, reason=task.reason),
        host=host_of(callback.url),
        created_at=now,
        due_at=now + PROGRESS_SECONDS if is_progress else now,
        owner=task.owner,
    )


def host_of(url: str) -> str:
    """Return host and port of a URL that was checked before."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"


def is_superseded(delivery: Delivery, task: Task) -> bool:
    """Tell whether the task is in another state by now, so that this delivery would tell what is not true any more."""
    if task.status is Status.DELETED:  # which is told by nothing: its end still is what it was
        return delivery.told.status is Status.RUNNING
    return (task.status, task.attempt) != (delivery.told.status, delivery.told.attempt)


def as_told(delivery: Delivery, task: Task) -> Task:
    """Return a task that is not superseded in the state that the delivery tells."""
    if task.status is delivery.told.status:
        return task
    return msgspec.structs.replace(task, status=delivery.told.status, reason=delivery.told.reason)


def next_try_at(
    step: int, now: Seconds, *, chance: float, retry_after_seconds: Seconds | None = None
) -> Seconds | None:
    """Return when the next try is due after `step` of them; None when there is none. `chance` in [0, 1)."""
    if step >= len(WAITS_SECONDS):
        return None
    wait = WAITS_SECONDS[step] * (1 + JITTER * chance)
    return now + max(wait, min(retry_after_seconds or 0.0, DAY_SECONDS))


def after_try(
    delivery: Delivery, tried: Try, *, chance: float, retry_after_seconds: Seconds | None = None, hopeless: bool = False
) -> Delivery:
    """Return what a try makes of a delivery: delivered, due again, or given up."""
    step = delivery.step + 1
    done = msgspec.structs.replace(delivery, step=step, lease_until=None, last=tried)
    if tried.accepted:
        return msgspec.structs.replace(done, state=DeliveryState.DELIVERED)
    now = tried.at + tried.latency_seconds
    due_at = next_try_at(step, now, chance=chance, retry_after_seconds=retry_after_seconds)
    if due_at is None or hopeless or tried.status_code == GONE:
        return msgspec.structs.replace(done, state=DeliveryState.GIVEN_UP)
    return msgspec.structs.replace(done, due_at=due_at)


def replayed(delivery: Delivery, now: Seconds) -> Delivery:
    """Return a delivery that is to be sent again, with a whole schedule before it; one being sent stays as it is."""
    if delivery.lease_until is not None:
        return delivery
    return msgspec.structs.replace(delivery, state=DeliveryState.PENDING, step=0, due_at=now)
