"""What a client raises: the server's own errors, rebuilt from their codes, and those of the way there."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from offload.core import schedule_errors
from offload.core.errors import (
    BodyTooLarge,
    JobDoesNotExist,
    OffloadError,
    TaskConflict,
    TryAgain,
    WrongInput,
    WrongJobDefinitionValue,
    WrongValue,
)

_STANDARD = frozenset({"type", "title", "status", "detail", "code"})
_E = TypeVar("_E", bound=OffloadError)


class RemoteError(OffloadError):
    """The server answered an error that this version of offload does not know; `remote_code` and `status` say which."""

    code = "RemoteError"

    def __init__(
        self, message: str, *, status: int, remote_code: str = "", fields: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.remote_code = remote_code
        self._fields = dict(fields or {})

    @property
    def fields(self) -> Mapping[str, Any]:
        return self._fields


class ServerUnreachable(OffloadError):
    """No answer came in time: refused, cut off, or too slow. What was sent may or may not have arrived."""

    code = "ServerUnreachable"


class WaitTimeout(OffloadError):
    """The task had not ended when the wait did; it goes on, and `task_id` finds it again."""

    code = "WaitTimeout"

    def __init__(self, task_id: str, status: str, waited_seconds: float) -> None:
        super().__init__(f"task {task_id} is still {status} after {waited_seconds:g} s; it goes on")
        self.task_id = task_id
        self.status = status


def error_from(status: int, headers: Mapping[str, str], body: bytes) -> OffloadError:
    """Return the error that an answer tells of."""
    problem = _problem(body)
    code, detail = str(problem.get("code", "")), str(problem.get("detail") or problem.get("title") or "")
    fields = {name: value for name, value in problem.items() if name not in _STANDARD}
    retry_seconds = retry_after(headers)
    kind = _kinds().get(code)
    if kind is not None:
        return _rebuilt(kind, detail, fields, retry_seconds)
    text = detail or body[:200].decode("utf-8", "replace").strip()
    message = f"the server answered {status}" + (f" {code}" if code else "") + (f": {text}" if text else "")
    return RemoteError(message, status=status, remote_code=code, fields=fields)


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Return the seconds that Retry-After asks for; a date is not what offload sends and counts as nothing."""
    text = headers.get("retry-after", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _rebuilt(kind: type[_E], detail: str, fields: dict[str, Any], retry_seconds: int | None) -> _E:
    """Make an error with the server's words; its own `__init__` would word it again."""
    error = kind.__new__(kind)
    Exception.__init__(error, detail)
    match error:
        case TaskConflict():
            error._fields = fields
        case TryAgain():
            error.retry_seconds = retry_seconds if retry_seconds is not None else fields.get("retry_after")
            error.limit = fields.get("limit")
        case WrongInput() | WrongJobDefinitionValue():
            error.errors = list(fields.get("errors", ()))
            error.index = fields.get("index")
        case WrongValue():
            error.name = ".".join(
                str(part) for mistake in fields.get("errors", ())[:1] for part in mistake.get("loc", ())
            )
        case BodyTooLarge():
            error.limit = fields.get("limit", 0)
        case JobDoesNotExist():
            error.name = str(fields.get("job", ""))
        case _:
            pass
    return error


def _kinds() -> Mapping[str, type[OffloadError]]:
    known = (OffloadError.__module__, schedule_errors.__name__)
    return {kind.code: kind for kind in _below(OffloadError) if kind.__module__ in known}


def _below(kind: type[OffloadError]) -> Iterable[type[OffloadError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)
