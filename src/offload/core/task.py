"""The task: one requested run of a job, and what is recorded about it."""

from enum import StrEnum
from typing import Literal

import msgspec

Seconds = float
"""A point in time (Unix time) or a length of time, always in seconds."""

PRIORITY_MAX = 100
AGEING_SECONDS = 60.0
"""How long a task must have waited to overtake one whose priority is one higher."""


class Status(StrEnum):
    CREATED = "CREATED"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    DELETED = "DELETED"


FINAL = frozenset({Status.DONE, Status.FAILED, Status.CANCELED, Status.DELETED})


class Reason(StrEnum):
    """Why a task FAILED or was CANCELED."""

    ERROR = "error"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_LOST = "worker_lost"
    POISON = "poison"
    DEADLINE = "deadline"
    INPUT_UNAVAILABLE = "input_unavailable"
    RESULT_TOO_LARGE = "result_too_large"
    UPLOAD_FAILED = "upload_failed"
    CANCELED = "canceled"


Moment = Literal["started", "progress", "done", "failed", "canceled"]
"""What of a task's life a callback can tell."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value that is stored or sent whole."""


class FileRef(Record, frozen=True, kw_only=True):
    """A stored file: where its bytes are and what the client called it."""

    blob: str
    name: str
    type: str
    size: int
    sha256: str = ""
    field: str = ""
    """The path of the input field that holds it, as in `images.2`; empty for a result."""
    url: str = ""
    """Where the bytes are still to be fetched from; forgotten once they are here, for it may hold a signature."""


class TaskError(Record, frozen=True, kw_only=True):
    type: str
    message: str
    traceback: str = ""


class Progress(Record, frozen=True, kw_only=True):
    fraction: float | None = None
    message: str = ""


class TaskEvent(Record, frozen=True, kw_only=True):
    """One line of a task's history; the store numbers them from 1 without gaps."""

    kind: Literal["status", "progress", "log", "output"]
    at: Seconds
    attempt: int
    data: bytes
    """JSON."""
    n: int = 0


class Callback(Record, frozen=True, kw_only=True):
    """Where and how a client wants to be told about its task."""

    url: str
    events: tuple[Moment, ...] = ("done", "failed", "canceled")
    body: Literal["event", "result"] = "event"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One requested run of a job. Only `transitions.decide` makes a changed copy."""

    id: str
    job: str
    queue: str
    status: Status
    created_at: Seconds
    key: int = 0
    """Given by the store: order and locality. Never shown to a client."""
    owner: str = ""
    reason: Reason | None = None
    attempt: int = 0
    max_attempts: int = 3
    losses: int = 0
    """How many workers died under it."""
    priority: int = 0
    queued_at: Seconds | None = None
    run_at: Seconds | None = None
    started_at: Seconds | None = None
    finished_at: Seconds | None = None
    deadline_at: Seconds | None = None
    expires_at: Seconds | None = None
    """When input, result, logs and files are dropped."""
    lease_until: Seconds | None = None
    node: str | None = None
    """The node that holds the lease."""
    cancel_requested: bool = False
    version: int = 1
    """Grows by one with every transition: the fence that stops a late worker."""
    event_count: int = 0
    input: bytes = b"{}"
    """JSON, checked against the job's schema; a file field holds null."""
    files: tuple[FileRef, ...] = ()
    input_bytes: int = 0
    """JSON and files together: what the task takes of its queue's capacity."""
    result: bytes | None = None
    """JSON, when it is small; otherwise `result_file` holds it."""
    result_file: FileRef | None = None
    error: TaskError | None = None
    progress: Progress | None = None
    tags: dict[str, str] = {}
    callback: Callback | None = None
    traceparent: str = ""
    """The trace that its creation belongs to, as W3C writes it."""
    upload_to: str = ""
    """Where the result goes by PUT before the task is DONE; forgotten then, for it may hold a signature."""
    payload_dropped: bool = False

    def __post_init__(self) -> None:
        assert (self.lease_until is not None) == (self.status is Status.RUNNING), self.status
        assert self.status is not Status.QUEUED or self.run_at is not None
        assert 0 <= self.attempt and 1 <= self.max_attempts

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def rank(self) -> float:
        """Return the place in line: lower runs first. Waiting raises everyone alike, so it never has to change."""
        assert self.run_at is not None
        return self.run_at - self.priority * AGEING_SECONDS


class Scope(Record, frozen=True, kw_only=True):
    """Whose tasks a call may see. An owner of None sees all."""

    owner: str | None = None


ALL = Scope()
