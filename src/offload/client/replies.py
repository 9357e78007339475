"""What a server says, as values with names: tasks, their states, queues, jobs and stored files."""

from datetime import datetime
from typing import Any

import msgspec

FINAL = frozenset({"DONE", "FAILED", "CANCELED", "DELETED"})


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One answer; fields that a newer server adds are left out."""


class Progress(Reply, frozen=True, kw_only=True):
    fraction: float | None = None
    """From 0 to 1; None when the job cannot tell."""
    message: str = ""


class TaskState(Reply, frozen=True, kw_only=True):
    """What changes about a task while it is on its way."""

    id: str
    status: str
    """CREATED, QUEUED, RUNNING, DONE, FAILED, CANCELED or DELETED."""
    reason: str | None = None
    progress: Progress | None = None
    position: int | None = None
    """How many tasks run before it; None when that is unknown."""
    eta_seconds: float | None = None

    @property
    def final(self) -> bool:
        return self.status in FINAL


class FailedWith(Reply, frozen=True, kw_only=True):
    type: str
    message: str
    traceback: str = ""


class RemoteTask(Reply, frozen=True, kw_only=True):
    """A whole task as it was when the server was asked; sizes in bytes, times with their zone."""

    id: str
    job: str
    queue: str
    status: str
    reason: str | None = None
    attempt: int = 0
    max_attempts: int = 1
    priority: int = 0
    progress: Progress | None = None
    position: int | None = None
    eta_seconds: float | None = None
    created_at: datetime | None = None
    queued_at: datetime | None = None
    run_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    expires_at: datetime | None = None
    input: dict[str, Any] | None = None
    result: Any = None
    """A small JSON result; larger ones and files are read with `result()`."""
    result_type: str | None = None
    result_size: int | None = None
    error: FailedWith | None = None
    tags: dict[str, str] = {}

    @property
    def final(self) -> bool:
        return self.status in FINAL


class QueueState(Reply, frozen=True, kw_only=True):
    """How full and how fast a queue is; what is unknown is None."""

    name: str
    state: str
    """accepting, full or paused."""
    tasks: int = 0
    queued: int = 0
    ready: int = 0
    running: int = 0
    bytes: int = 0
    tasks_max: int | None = None
    bytes_max: int | None = None
    oldest_wait_seconds: float | None = None
    arrivals_per_second: float | None = None
    completions_per_second: float | None = None
    predicted_wait_seconds: float | None = None
    jobs: tuple[str, ...] = ()


class NodeDescription(Reply, frozen=True, kw_only=True):
    """One of the nodes that share a server's store, as it was when it was last seen."""

    name: str
    seen_at: datetime
    started_at: datetime
    present: bool = False
    """It was seen lately, and may be counted on."""
    serves: bool = False
    """It answers HTTP."""
    stopping: bool = False
    workers: int = 0
    running: int = 0
    jobs: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    looked_at: datetime | None = None
    """When it last looked for tasks; None: it has no workers."""
    completions_per_second: float = 0.0
    version: str = ""


class JobDescription(Reply, frozen=True, kw_only=True):
    """What a server says of one of its jobs."""

    name: str
    queue: str = ""
    description: str = ""
    input: dict[str, Any] = {}
    """The JSON Schema of the input object."""
    result: dict[str, Any] | None = None


class KeyDescription(Reply, frozen=True, kw_only=True):
    """An API key as a server tells of it: never the key itself."""

    id: str
    owner: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    rate: str | None = None
    """As in `10/s`."""
    tasks_max: int | None = None
    bytes_max: int | None = None


class NewKey(KeyDescription, frozen=True, kw_only=True):
    """A key that was just made, with the only copy of itself."""

    key: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r}, owner={self.owner!r})"


class StoredFile(Reply, frozen=True, kw_only=True):
    """A file that was stored to be named later as `file:{id}`."""

    id: str
    size: int
    type: str = ""
    sha256: str = ""


class Event(Reply, frozen=True, kw_only=True):
    """One thing that happened to a task."""

    kind: str
    """`status`, `progress`, `log` or `output`."""
    data: Any
    """The value of an output, the text of a log, else a mapping."""
    id: int | None = None
    """Its number within the task, from 1 and without gaps; None when it was found by polling."""


class Page(Reply, frozen=True, kw_only=True):
    tasks: list[RemoteTask]
    next: str | None = None
