"""One attempt in the pool: what it is, what it said, and how its end is told."""

from dataclasses import dataclass
from enum import Enum, auto

from offload.core.job import Job
from offload.core.outcome import Failed, Outcome, Stopped, Unrun
from offload.core.task import Reason, Seconds, Task, TaskError
from offload.workers.capture import AttemptLog
from offload.workers.protocol import InputFile


class Stop(Enum):
    """Why an attempt was told to end."""

    CANCEL = auto()
    TIMEOUT = auto()
    SHUTDOWN = auto()
    NEIGHBOUR = auto()
    """The process has to go because of another attempt in it."""
    MEMORY = auto()
    CUT_OFF = auto()
    """Its process lives, and cannot be heard any more: the job has closed what it had no business with."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One `run`; lives until its one `ended`."""

    task: Task
    job: Job
    files: list[InputFile]
    log: AttemptLog
    timeout_seconds: Seconds | None
    grace_seconds: Seconds
    traceparent: str = ""
    ticket: int = 0
    handed_at: Seconds = 0.0
    """When the child may have begun it, on the loop's clock."""
    stop: Stop | None = None
    stop_at: Seconds = 0.0
    termed: bool = False
    """The process was told to go, with this attempt in it."""
    why: TaskError | None = None
    is_blamed: bool = True
    """Whether the death of its process counts against it."""

    @property
    def key(self) -> tuple[str, int]:
        return self.task.id, self.task.attempt

    @property
    def is_cooperative(self) -> bool:
        """The job can notice by itself that it should stop."""
        return self.job.takes_context is not None or self.job.kind.is_async

    def tell(self, stop: Stop, now: Seconds, why: TaskError | None = None) -> None:
        """Note that it was told to end; a cancel outlives every other reason but one that came before."""
        if self.stop is None:
            self.stop, self.stop_at, self.why = stop, now, why

    def stopped(self, traceback: str = "") -> Outcome:
        """Return the outcome of an attempt that ended because it was told to."""
        match self.stop:
            case Stop.CANCEL:
                return Stopped()
            case Stop.TIMEOUT:
                message = f"the job ran longer than its limit of {self.timeout_seconds:g} s"
                error = TaskError(type="Timeout", message=message, traceback=traceback)
                return Failed(reason=Reason.TIMEOUT, error=error)
            case Stop.MEMORY:
                assert self.why is not None
                return Failed(reason=Reason.OUT_OF_MEMORY, error=self.why, worker_died=self.is_blamed)
            case Stop.CUT_OFF:
                assert self.why is not None
                return Failed(reason=Reason.WORKER_LOST, error=self.why, worker_died=self.is_blamed)
            case _:
                return Unrun(started=True)

    def unrun(self) -> Outcome:
        """Return the outcome of an attempt that never began."""
        return Stopped() if self.stop is Stop.CANCEL else Unrun()
