"""What the sync and the async driver share of the HTTP library: settings, requests, and what its errors mean."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from random import random
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2

from offload.client.effects import Effect, Flow, Request, Send, Unreachable
from offload.client.retries import Rules

CONNECT_SECONDS = 10.0
T = TypeVar("T")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(slots=True)
class Open:
    """An answer whose body is still to come."""

    response: httpx2.Response
    pieces: Any
    deadline: float | None


class Talk(Generic[T]):
    """How far a flow has come, and what it has open."""

    def __init__(self, flow: Flow[T]) -> None:
        self.flow = flow
        self.opened: list[Open] = []
        self.given: Any = None
        self.failed: Exception | None = None
        self._value: T | None = None

    def next(self) -> Effect | None:
        """Hand the flow what came of its last wish and return the next, None when it has ended."""
        given, failed = self.given, self.failed
        self.given, self.failed = None, None
        try:
            return self.flow.send(given) if failed is None else self.flow.throw(failed)
        except StopIteration as end:
            self._value = end.value
            return None

    @property
    def value(self) -> T:
        """What the flow ended in."""
        return cast(T, self._value)


def make_rules(url: str, timeout_seconds: float, retries: int) -> Rules:
    """Return the rules of a client. Raise ValueError for what is no URL of a server."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not the address of a server; write something like http://127.0.0.1:8000")
    if timeout_seconds <= 0 or retries < 0:
        raise ValueError(f"timeout_seconds={timeout_seconds!r} must be above 0, retries={retries!r} not below")
    return Rules(
        url=url.rstrip("/"),
        clock=time.monotonic,
        chance=random,
        new_key=lambda: str(uuid4()),
        timeout_seconds=timeout_seconds,
        retries=retries,
    )


def client_options(rules: Rules, api_key: str | None) -> dict[str, Any]:
    """Return what both kinds of HTTP client are made with."""
    parts = urlsplit(rules.url)
    headers = {"User-Agent": "offload-python", "Accept-Encoding": "identity"}  # sizes and ranges count plain bytes
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key}"
    return {
        "headers": headers,
        "follow_redirects": False,
        "trust_env": parts.hostname not in _LOOPBACK,  # nobody means a proxy when asking this machine
        "verify": parts.scheme == "https",  # without it, loading certificates is what takes longest
        "limits": httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=4.0),
    }


def request_options(rules: Rules, send: Send) -> dict[str, Any]:
    """Return what a request is built with, its content apart."""
    request = send.request
    left = send.idle_seconds
    if send.deadline is not None:
        left = max(0.001, min(left, send.deadline - rules.clock()))
    headers: dict[str, str] = {"Accept": "application/json, */*", **request.headers}
    if request.body is not None:
        headers["Content-Type"] = request.body.type
        if request.body.stream is not None and request.body.size is not None:
            headers["Content-Length"] = str(request.body.size)
    return {
        "method": request.method,
        "url": rules.url + request.path,
        "params": dict(request.query) or None,
        "headers": {name.encode(): value.encode() for name, value in headers.items()},
        "timeout": httpx2.Timeout(left, connect=min(left, CONNECT_SECONDS)),
    }


def elsewhere_options() -> dict[str, Any]:
    """Return what a client is made with that follows a server's word to another place: nothing of ours goes along."""
    return {"headers": {"User-Agent": "offload-python", "Accept-Encoding": "identity"}, "follow_redirects": False}


def sent_elsewhere(request: Request, response: "httpx2.Response") -> dict[str, Any] | None:
    """Return what to ask instead when a large file is to be read from where it is kept, None when it is not."""
    if not request.streams or response.status_code not in (302, 303, 307):
        return None
    url = response.url.join(response.headers.get("location", ""))
    if url.scheme not in ("http", "https"):
        return None
    # as long as the answer is the file or a problem, it is of no matter where it came from; keys stay with the server
    headers = {name: value for name, value in request.headers.items() if name.lower() in ("range", "if-range")}
    timeout = httpx2.Timeout(**response.request.extensions["timeout"])
    return {"method": "GET", "url": url, "headers": headers, "timeout": timeout}


def stays_open(request: Request, status: int) -> bool:
    """Tell whether an answer is left to be read piece by piece."""
    return request.streams and status in (200, 206)


def lower_names(headers: httpx2.Headers) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def unreachable(error: httpx2.TransportError) -> Unreachable:
    """Return what an error of the HTTP library means to the core; errors that are our fault are raised again."""
    if isinstance(error, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        raise error
    nothing_sent = isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout))
    if isinstance(error, httpx2.TimeoutException):
        why = "no connection in time" if nothing_sent else "no answer in time"
    elif nothing_sent:
        why = f"cannot be reached ({error}); is `offload serve` running there?"
    else:
        why = f"the connection broke off ({error or type(error).__name__})"
    found = Unreachable(why, nothing_sent=nothing_sent)
    found.__cause__ = error
    return found


def too_slow() -> Unreachable:
    return Unreachable("the answer did not end in time")
