"""Every error offload raises: a code, a message with the values in it, and the fields that help."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class OffloadError(Exception):
    """The top of the tree. `code` names the error for programs and never changes its meaning."""

    code: ClassVar[str] = "OffloadError"

    @property
    def fields(self) -> Mapping[str, Any]:
        """What a program may want to read besides the message; JSON values."""
        return {}


class Reject(OffloadError):
    """Raise it in a job to say that the input is bad: the task FAILS as `rejected` and is not tried again."""

    code = "Rejected"


class RetryLater(OffloadError):
    """Raise it in a job to be tried again after `seconds`, if attempts are left."""

    code = "RetryLater"

    def __init__(self, seconds: float, why: str = "") -> None:
        super().__init__(why or f"the job asked to be tried again in {seconds:g} s")
        self.seconds = seconds


class Canceled(OffloadError):
    """Raised inside a job, by its Context, when the task was canceled or ran out of time."""

    code = "Canceled"


class WrongJob(OffloadError):
    """A job is declared in a way that cannot work; `problems` says where and what would work."""

    code = "WrongJob"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class CannotLoadJobs(OffloadError):
    """The file or module with the jobs could not be imported, or holds none."""

    code = "CannotLoadJobs"


class WrongSetting(OffloadError):
    code = "WrongSetting"


class JobDoesNotExist(OffloadError):
    code = "JobDoesNotExist"

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        hint = f"; this server has {', '.join(known)}" if known else ""
        super().__init__(f"there is no job {name!r}{hint}")
        self.name = name


class WrongJobDefinitionValue(OffloadError):
    """The body of a creation does not describe a task."""

    code = "WrongJobDefinitionValue"

    def __init__(self, message: str, errors: Sequence[Mapping[str, Any]] = (), index: int | None = None) -> None:
        super().__init__(message)
        self.errors = list(errors)
        self.index = index

    @property
    def fields(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {"errors": self.errors} if self.errors else {}
        return found if self.index is None else {**found, "index": self.index}


class WrongInput(OffloadError):
    """The input does not fit the job's schema: each mistake with its place and reason."""

    code = "WrongInput"

    def __init__(self, job: str, errors: Sequence[Mapping[str, Any]], index: int | None = None) -> None:
        first = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'input'}: {e['message']}" for e in errors[:3])
        super().__init__(f"wrong input for job {job!r}: {first}" + ("; …" if len(errors) > 3 else ""))
        self.errors = list(errors)
        self.index = index

    @property
    def fields(self) -> Mapping[str, Any]:
        return {"errors": self.errors} if self.index is None else {"errors": self.errors, "index": self.index}


class WrongValue(OffloadError):
    """An option, header or query parameter has a value that means nothing."""

    code = "WrongValue"

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name

    @property
    def fields(self) -> Mapping[str, Any]:
        return {"errors": [{"loc": [self.name], "message": str(self)}]}


class NotAvailable(OffloadError):
    """The request asks for something this server does not do."""

    code = "NotAvailable"


class KeyRequired(OffloadError):
    """The request came without a key, or with one that is not valid (any more)."""

    code = "KeyRequired"

    def __init__(self, message: str, *, given: bool = False) -> None:
        super().__init__(message)
        self.given = given


class ScopeMissing(OffloadError):
    """The key is valid, but not for this."""

    code = "ScopeMissing"

    def __init__(self, needed: Sequence[str]) -> None:
        super().__init__(f"this key does not have the scope for that: {' or '.join(needed)}")
        self.needed = list(needed)

    @property
    def fields(self) -> Mapping[str, Any]:
        return {"scopes": self.needed}


class KeyDoesNotExist(OffloadError):
    code = "KeyDoesNotExist"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no key {key_id[:40]!r}")


class WrongTaskIdFormat(OffloadError):
    code = "WrongTaskIdFormat"

    def __init__(self, given: str) -> None:
        super().__init__(
            f"{given[:80]!r} is not a task id; an id is a UUID such as 8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34"
        )


class TaskDoesNotExist(OffloadError):
    code = "TaskDoesNotExist"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"there is no task {task_id}")


class FileDoesNotExist(OffloadError):
    code = "FileDoesNotExist"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no file {name!r}")


class DeliveryDoesNotExist(OffloadError):
    code = "DeliveryDoesNotExist"

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"there is no callback {delivery_id[:200]!r}")


class QueueDoesNotExist(OffloadError):
    code = "QueueDoesNotExist"

    def __init__(self, name: str, known: Sequence[str] = ()) -> None:
        super().__init__(f"there is no queue {name!r}; this server has {', '.join(known) or 'none'}")


class TaskAlreadyExists(OffloadError):
    code = "TaskAlreadyExists"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"task {task_id} already exists with other content")


class IdempotencyKeyReused(OffloadError):
    code = "IdempotencyKeyReused"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Idempotency-Key {key!r} was already used for another request; use a new key for a new request"
        )


class TaskConflict(OffloadError):
    """The task is in a state in which this cannot be done."""

    code = "TaskConflict"

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self._fields = fields

    @property
    def fields(self) -> Mapping[str, Any]:
        return self._fields


class TaskIsFinal(TaskConflict):
    code = "TaskIsFinal"


class TaskIsNotFinal(TaskConflict):
    code = "TaskIsNotFinal"


class TaskIsDeleted(TaskConflict):
    code = "TaskIsDeleted"


class TaskIsCanceled(TaskConflict):
    code = "TaskIsCanceled"


class TaskFailed(TaskConflict):
    code = "TaskFailed"

    @property
    def reason(self) -> str:
        """Return why, as `Reason` says it; empty when nobody said."""
        return str(self._fields.get("reason") or "")

    @property
    def error(self) -> Mapping[str, Any]:
        """Return the job's own error: its type, message and traceback."""
        return self._fields.get("error") or {}


class ResultExpired(TaskConflict):
    code = "ResultExpired"


class BodyTooLarge(OffloadError):
    code = "BodyTooLarge"

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} is larger than the limit of {limit:,} bytes")
        self.limit = limit

    @property
    def fields(self) -> Mapping[str, Any]:
        return {"limit": self.limit}


class FrameTooLarge(OffloadError):
    """A message between a worker and the server is beyond what the protocol carries."""

    code = "FrameTooLarge"


class TryAgain(OffloadError):
    """Nothing is wrong with the request; the server cannot take it now."""

    code = "TryAgain"

    def __init__(self, message: str, retry_seconds: int | None = None, limit: int | None = None) -> None:
        later = f"; try again in {retry_seconds} s" if retry_seconds is not None else ""
        super().__init__(message + later)
        self.retry_seconds = retry_seconds
        self.limit = limit

    @property
    def fields(self) -> Mapping[str, Any]:
        found = {"retry_after": self.retry_seconds, "limit": self.limit}
        return {name: value for name, value in found.items() if value is not None}


class QueueFull(TryAgain):
    code = "QueueFull"


class DiskFull(TryAgain):
    code = "DiskFull"


class TooManyStreams(TryAgain):
    """As many event streams are open as this node can hold."""

    code = "TooManyStreams"


class QuotaExceeded(TryAgain):
    """A client is over its own share: of requests, event streams, unfinished tasks, stored bytes, or wrong keys."""

    code = "QuotaExceeded"
    what = "requests"
    """`requests`, `tasks` or `bytes`."""


class StoreUnavailable(TryAgain):
    code = "StoreUnavailable"


class Stopping(TryAgain):
    code = "Stopping"


class EgressFailed(OffloadError):
    """A place that a client named did not take, or did not give, what it should; `temporary`: a later try may work."""

    code = "EgressFailed"

    def __init__(self, message: str, *, temporary: bool, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.temporary = temporary
        self.retry_seconds = retry_seconds

    @property
    def fields(self) -> Mapping[str, Any]:
        found = {"temporary": self.temporary, "retry_after": self.retry_seconds}
        return {name: value for name, value in found.items() if value is not None}


class EgressRefused(EgressFailed):
    """The URL is not one that this server would ever use: the way it is written says so, nothing was looked up."""

    code = "AddressRefused"

    def __init__(self, message: str) -> None:
        super().__init__(message, temporary=False)


class Unreachable(EgressFailed):
    """No connection: a closed address, an unknown name and a refusing host look the same; the log says which."""

    code = "Unreachable"

    def __init__(self, origin: str) -> None:
        super().__init__(f"{origin} cannot be reached", temporary=True)


class ExchangeFailed(EgressFailed):
    """There was a connection, and then it broke, took too long, could not be trusted or was not HTTP."""

    code = "ExchangeFailed"

    def __init__(self, message: str) -> None:
        super().__init__(message, temporary=True)


class SourceUnavailable(EgressFailed):
    """A file that the input names by URL cannot be had from there."""

    code = "SourceUnavailable"


class UploadRefused(EgressFailed):
    """The place where the result was to go did not take it."""

    code = "UploadRefused"


class TransitionRefused(OffloadError):
    """The table has no such transition; the engine turns it into what the caller should hear."""

    code = "TransitionRefused"

    def __init__(self, task_id: str, status: str, event: str) -> None:
        super().__init__(f"task {task_id} is {status}: {event} is not possible")
        self.status = status
        self.event = event
