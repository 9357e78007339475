"""Every error as application/problem+json: one table from code to status and title."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from offload.core.errors import KeyRequired, OffloadError, ScopeMissing, TryAgain
from offload.http.browsers import OWN_FIELDS

PROBLEM_TYPE = "application/problem+json"

PROBLEMS: Mapping[str, tuple[int, str]] = {
    "WrongValue": (400, "A parameter, header or option has a value that means nothing"),
    "WrongBody": (400, "The body cannot be read"),
    "WrongRequest": (400, "The request is malformed"),
    "WrongTaskIdFormat": (400, "That is not a task id"),
    "WrongJobDefinitionValue": (400, "The body does not describe a task"),
    "WrongSchedule": (400, "The body does not describe a schedule"),
    "KeyRequired": (401, "The request needs a valid key"),
    "ScopeMissing": (403, "The key is not for that"),
    "CrossOriginRefused": (403, "Another website may not do this"),
    "RunRefused": (403, "What a task holds is not for running"),
    "RouteDoesNotExist": (404, "There is nothing at this address"),
    "JobDoesNotExist": (404, "There is no such job"),
    "TaskDoesNotExist": (404, "There is no such task"),
    "FileDoesNotExist": (404, "There is no such file"),
    "LeaseDoesNotExist": (404, "There is no such lease"),
    "DeliveryDoesNotExist": (404, "There is no such callback"),
    "QueueDoesNotExist": (404, "There is no such queue"),
    "KeyDoesNotExist": (404, "There is no such key"),
    "ScheduleDoesNotExist": (404, "There is no such schedule"),
    "MethodNotAllowed": (405, "This address does not take that method"),
    "RequestTooSlow": (408, "The request arrives too slowly"),
    "TaskAlreadyExists": (409, "Another task has this id"),
    "ScheduleIsDeclared": (409, "The schedule stands in the code of its job"),
    "TaskConflict": (409, "The task is in a state in which this cannot be done"),
    "TaskIsFinal": (409, "The task has ended"),
    "TaskIsNotFinal": (409, "The task has not ended"),
    "TaskIsDeleted": (409, "The task was deleted"),
    "TaskIsCanceled": (409, "The task was canceled"),
    "TaskFailed": (409, "The task failed"),
    "LeaseLost": (409, "The lease has ended"),
    "ResultExpired": (410, "It is no longer kept"),
    "BodyTooLarge": (413, "The body is too large"),
    "FrameTooLarge": (413, "The input is too large"),
    "UrlTooLong": (414, "The URL is too long"),
    "WrongContentType": (415, "The body is of a type that is not taken here"),
    "WrongRange": (416, "The range lies outside the file"),
    "WrongHost": (421, "This server does not answer to that name"),
    "WrongInput": (422, "The input does not fit the job"),
    "WrongResult": (422, "The result does not fit the job"),
    "AddressRefused": (422, "This server does not use that URL"),
    "NotAvailable": (422, "This server does not do that"),
    "NoPreview": (422, "The file cannot be shown as a picture"),
    "IdempotencyKeyReused": (422, "The Idempotency-Key belongs to another request"),
    "QuotaExceeded": (429, "The client is over its share"),
    "HeaderTooLarge": (431, "The header is too large"),
    "InternalError": (500, "The server has a fault"),
    "UpstreamUnreachable": (502, "The application behind this server does not answer"),
    "QueueFull": (503, "The queue is full"),
    "TryAgain": (503, "The server cannot do this now"),
    "StoreUnavailable": (503, "The store cannot be reached"),
    "TooManyStreams": (503, "Too many event streams are open"),
    "Stopping": (503, "The server is stopping"),
    "NotReady": (503, "The server cannot accept tasks now"),
    "TooManyConnections": (503, "The server has too many connections"),
    "DiskFull": (507, "The disk is full"),
}
"""A code always means the same; only QueueFull (a setting) and a bad task of a batch (400) change their status."""


class WrongBody(OffloadError):
    """The body is not what its Content-Type says."""

    code = "WrongBody"


class WrongRequest(OffloadError):
    """The request breaks HTTP in a way that a proxy could read differently; the connection is closed."""

    code = "WrongRequest"


class CrossOriginRefused(OffloadError):
    code = "CrossOriginRefused"

    def __init__(self, origin: str) -> None:
        super().__init__(f"a page of {origin[:200]!r} may not change anything here")


class RouteDoesNotExist(OffloadError):
    code = "RouteDoesNotExist"

    def __init__(self, path: str) -> None:
        super().__init__(f"there is nothing at {path[:200]!r}; /docs lists what there is")


class MethodNotAllowed(OffloadError):
    code = "MethodNotAllowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        self.allow = ", ".join(allowed)
        super().__init__(f"{method[:20]} is not possible here; possible: {self.allow}")


class WrongContentType(OffloadError):
    code = "WrongContentType"


class UrlTooLong(OffloadError):
    code = "UrlTooLong"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the URL is longer than {limit:,} bytes")


class HeaderTooLarge(OffloadError):
    code = "HeaderTooLarge"


class WrongHost(OffloadError):
    code = "WrongHost"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"this server does not answer to {host[:200]!r}; use a loopback name, or name it in the setting `hosts`"
        )


class WrongRange(OffloadError):
    code = "WrongRange"

    def __init__(self, size: int) -> None:
        super().__init__(f"the range begins after the end of the file, which has {size:,} bytes")
        self.size = size


class NotReady(OffloadError):
    code = "NotReady"

    def __init__(self, checks: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {state}" for name, state in checks.items()))
        self._checks = dict(checks)

    @property
    def fields(self) -> Mapping[str, Any]:
        return {"checks": self._checks}


class InternalError(OffloadError):
    """What a client hears of an exception that is our fault; the log has the rest."""

    code = "InternalError"

    def __init__(self) -> None:
        super().__init__("something went wrong inside the server; its log says what, under this request's id")


def problem_body(code: str, status: int, detail: str, fields: Mapping[str, Any]) -> bytes:
    """Return the JSON of a problem."""
    title = PROBLEMS[code][1] if code in PROBLEMS else code
    first = {"type": f"/docs#{code}", "title": title, "status": status, "detail": detail, "code": code}
    return msgspec.json.encode({**first, **{name: value for name, value in fields.items() if name not in first}})


def problem(error: OffloadError, *, status: int | None = None, index: int | None = None) -> Response:
    """Return the answer that tells of `error`; `status` in place of the table's, `index` of one in a batch."""
    status = status or PROBLEMS.get(error.code, (500, ""))[0]
    response = Response(_encode(error, status, index), status, media_type=PROBLEM_TYPE)
    if isinstance(error, TryAgain) and error.retry_seconds is not None:
        response.raw_headers.append((b"retry-after", str(error.retry_seconds).encode()))
    if isinstance(error, MethodNotAllowed):
        response.raw_headers.append((b"allow", error.allow.encode()))
    if isinstance(error, WrongRange):
        response.raw_headers.append((b"content-range", f"bytes */{error.size}".encode()))
    if isinstance(error, KeyRequired):
        challenge = b'Bearer realm="offload"' + (b', error="invalid_token"' if error.given else b"")
        response.raw_headers.append((b"www-authenticate", challenge))
    if isinstance(error, ScopeMissing):
        scopes = " ".join(error.needed).encode()
        response.raw_headers.append((b"www-authenticate", b'Bearer error="insufficient_scope", scope="%s"' % scopes))
    response.raw_headers.extend((*OWN_FIELDS, (b"cache-control", b"no-store")))
    return response


def _encode(error: OffloadError, status: int, index: int | None) -> bytes:
    fields = error.fields if index is None else {**error.fields, "index": index}
    try:
        return problem_body(error.code, status, str(error), fields)
    except UnicodeEncodeError:  # a lone surrogate that the client sent and a message repeats
        clean = str(error).encode("utf-8", "replace").decode()
        return problem_body(error.code, status, clean, {})
