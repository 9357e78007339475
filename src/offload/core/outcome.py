"""How an attempt ended, as a worker reports it; `transitions.after_failure` decides what that means for the task."""

from offload.core.task import Reason, Record, Seconds, TaskError


class LocalFile(Record, frozen=True, kw_only=True):
    """A finished file in a worker's scratch directory, to be moved into the blob store."""

    path: str
    name: str
    type: str
    size: int


class Succeeded(Record, frozen=True, kw_only=True):
    """The job returned. Small JSON is here; a file, or JSON too large for a frame, is in `file`."""

    json: bytes | None = None
    file: LocalFile | None = None


class Failed(Record, frozen=True, kw_only=True):
    """The attempt ended without a result."""

    reason: Reason
    error: TaskError
    retry: bool = True
    """False: trying again cannot help."""
    retry_after_seconds: Seconds | None = None
    """Set by `RetryLater`: when the job itself wants the next attempt."""
    worker_died: bool = False
    """The worker process went down with it; counts towards `poison`."""
    begun: bool = True
    """False: the job was never called, so the attempt does not count when the task ends by this."""


class Stopped(Record, frozen=True, kw_only=True):
    """The attempt ended because it was told to: canceled."""


class Unrun(Record, frozen=True, kw_only=True):
    """The worker never started it: it is given back and the attempt does not count."""

    started: bool = False
    """It had begun, and was ended for a reason that is not its own: the server stops, or a neighbour had to."""


Outcome = Succeeded | Failed | Stopped | Unrun
