"""What every request passes first and last: names, limits, its endpoint, and problems for what goes wrong."""

import itertools
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from offload.core.errors import OffloadError, QueueFull
from offload.core.trace import HEADER, read_traceparent, trace_id_of
from offload.engine.engine import Engine
from offload.engine.keyring import Keyring
from offload.http.access import Guard, be_nobody
from offload.http.call import SMALL_BODY_BYTES, Call, ClientGone
from offload.http.config import HttpConfig
from offload.http.feeds import Feeds
from offload.http.links import Links
from offload.http.problems import (
    CrossOriginRefused,
    HeaderTooLarge,
    InternalError,
    MethodNotAllowed,
    RouteDoesNotExist,
    UrlTooLong,
    WrongHost,
    WrongRequest,
    problem,
)
from offload.http.stats import HttpStats
from offload.ports.tracing import Span

log = logging.getLogger("offload.http")

Endpoint = Callable[[Call], Awaitable[Response]]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_PORT = re.compile(r":[0-9]{0,5}\Z", re.ASCII)
TRACEPARENT = HEADER.encode()
_JOBS = "/v1/jobs/"
_SUBMIT = "/v1/jobs/{job}"


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """Tell that no route matches; other kinds of connections than HTTP are not taken."""
    if scope["type"] == "http":
        raise RouteDoesNotExist(scope["path"])
    await send({"type": "websocket.close", "code": 1000})


class Methods:
    """One address: its endpoint for each method."""

    def __init__(self, route: str, endpoints: Mapping[str, Endpoint], guard: Guard) -> None:
        self._route = route
        self._guard = guard
        self._endpoints = {**endpoints, **({"HEAD": endpoints["GET"]} if "GET" in endpoints else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope["offload.call"]
        call.route = self._route
        call.parameters = scope["path_params"]
        endpoint = self._endpoints.get(call.method)
        if endpoint is None:
            raise MethodNotAllowed(call.method, sorted(self._endpoints))
        if call.keyring.locked:
            self._guard.admit(call, self._route)
        if call.method in ("GET", "HEAD") and not call.body_done:
            await call.body(SMALL_BODY_BYTES)  # it means nothing, but must not be taken for the next request
        await call.answer(await endpoint(call))


class Front:
    """The ASGI application."""

    kind_of_call: type[Call] = Call

    def __init__(
        self, router: Router, engine: Engine, config: HttpConfig, *, keyring: Keyring, guard: Guard, submit: Endpoint
    ) -> None:
        self._router = router
        self._engine = engine
        self._config = config
        self._submit = submit
        self._keyring = keyring
        self._guard = guard
        self._links = Links(keyring.secret)
        self._hosts = LOOPBACK_NAMES | {host.lower() for host in config.hosts}
        self._known_hosts: set[bytes] = set()
        own = secrets.token_hex(6)
        self._ids = (f"{own}-{number:x}" for number in itertools.count(1))
        self._stats = HttpStats()
        self._memory: dict[str, bytes] = {}
        self._feeds = Feeds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        monotonic = self._engine.clock.monotonic
        began = monotonic()
        call = self.kind_of_call(scope, receive, send, self._engine, self._config)
        call.stats, call.memory, call.feeds = self._stats, self._memory, self._feeds
        call.keyring, call.links = self._keyring, self._links
        if self._keyring.locked:
            be_nobody(call)
        given = call.fields.get(b"offload-request-id", b"")
        call.request_id = given.decode() if _REQUEST_ID.fullmatch(given) else next(self._ids)
        if (span := self._span(call)) is not None:
            call.traceparent = span.traceparent
        try:
            await self._respond(call, scope, receive, send)
        except ClientGone:
            call.status = 499
        except OffloadError as error:
            await self._tell(call, error)
        except Exception as error:
            await self._own_fault(call, error)
        finally:
            if span is not None:
                self._end(span, call)
        self._stats.add(call.method, call.route, call.status, monotonic() - began)

    def _span(self, call: Call) -> Span | None:
        call.traceparent = read_traceparent(call.header(TRACEPARENT))
        return self._engine.parts.traces.request(call.method, call.traceparent)

    def _end(self, span: Span, call: Call) -> None:
        about: dict[str, str | int | float | bool] = {
            "http.request.method": call.method,
            "http.route": call.route,
            "http.response.status_code": call.status,
            "offload.request.id": call.request_id,
        }
        error = str(call.status) if call.status >= 500 or call.status == 0 else ""
        span.end(self._engine.clock.now(), attributes=about, error=error)

    async def _respond(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        self._check(call)
        # the one request that has to be fast goes past the list of routes
        if (
            call.method == "POST"
            and call.path.startswith(_JOBS)
            and (name := call.path[len(_JOBS) :])
            and "/" not in name
        ):
            call.route = _SUBMIT
            call.parameters = {"job": name}
            if self._keyring.locked:
                self._guard.admit(call, _SUBMIT)
            await call.answer(await self._submit(call))
            return
        scope["offload.call"] = call
        await self._router(scope, receive, send)

    def _check(self, call: Call) -> None:
        """Refuse what is malformed, too large, or meant for somebody else."""
        scope, fields, config = call.connection, call.fields, self._config
        headers = scope["headers"]
        if len(headers) > config.header_count_max:
            raise HeaderTooLarge(f"the header has more than {config.header_count_max} fields")
        if sum([len(name) + len(value) for name, value in headers]) > config.header_bytes_max:
            raise HeaderTooLarge(f"the header is larger than {config.header_bytes_max:,} bytes")
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > config.url_bytes_max:
            raise UrlTooLong(config.url_bytes_max)
        host = fields.get(b"host", b"")
        if host not in self._known_hosts:
            self._check_host(host, sum(name == b"host" for name, _ in headers))
        if b"transfer-encoding" in fields and (b"content-length" in fields or scope.get("http_version") == "1.0"):
            raise WrongRequest("the length of the body is told in two ways, or in one that HTTP/1.0 does not have")
        if call.method not in ("GET", "HEAD"):
            origin = fields.get(b"origin")
            if origin is not None and origin.rpartition(b"//")[2].lower() != host.lower():
                raise CrossOriginRefused(origin.decode("latin-1"))
            if fields.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
                raise CrossOriginRefused("another origin")

    def _check_host(self, host: bytes, count: int) -> None:
        """Refuse other names than ours: a page of another site may have its name point here."""
        if count != 1:
            raise WrongRequest("a request has exactly one Host field")
        name = _PORT.sub("", host.decode("latin-1").lower())
        if name not in self._hosts:
            raise WrongHost(host.decode("latin-1"))
        if len(self._known_hosts) < 1000:
            self._known_hosts.add(host)

    async def _tell(self, call: Call, error: OffloadError) -> None:
        if call.answered:
            raise error
        status = self._config.queue_full_status if isinstance(error, QueueFull) else None
        if isinstance(error, (WrongRequest, HeaderTooLarge, UrlTooLong)):
            call.close_after = True
        await call.answer(problem(error, status=status))

    async def _own_fault(self, call: Call, error: Exception) -> None:
        if isinstance(error, TimeoutError) and call.answered:
            log.info("the client did not read its answer", extra=_about(call))
        if call.answered:  # nothing can be said any more; the server breaks the connection
            raise error
        log.exception("%s %s failed", call.method, call.route, extra=_about(call))
        await call.answer(problem(InternalError()))


def _about(call: Call) -> dict[str, str]:
    """Return the fields of a log line about a request."""
    about = {"request": call.request_id}
    if task_id := call.parameters.get("id"):
        about["task"] = task_id
    if trace_id := trace_id_of(call.traceparent):
        about["trace_id"] = trace_id
    return about
