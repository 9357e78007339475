"""For your own tests: a receiver of callbacks on this machine, and the check of their signatures."""

import hmac
import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from offload.core.errors import OffloadError
from offload.core.signing import signed

TOLERANCE_SECONDS = 300.0
"""How far the time in a signature may be from now: an older one may be a copy that somebody sends again."""


class WrongSignature(OffloadError):
    """A callback was not signed with this secret, or was changed, or is too old."""

    code = "WrongSignature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request that reached a Receiver; names of header fields are in lower case."""

    path: str
    """As it was asked for, the query included."""
    headers: Mapping[str, str]
    body: bytes
    """As it came; what the signature is over."""
    at: float
    """Seconds of `time.monotonic()`."""

    @property
    def id(self) -> str:
        """The `webhook-id`: the same in every try of one callback."""
        return self.headers.get("webhook-id", "")

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


Answer = int | tuple[int, Mapping[str, str], bytes]
"""A status, or status, header and body."""


@dataclass(slots=True)
class Receiver:
    """A real HTTP server on a free port of 127.0.0.1 that keeps what it is sent, to be used as a context manager.

    With a `secret`, what is not signed with it is answered 401 and kept in `refused`. `answer` is what all others get,
    or a function of what came. The server that sends must be allowed to: `egress_allow = ["127.0.0.1"]`.
    """

    secret: str | None = None
    """What the server signs with: `client.callback_secret().secret`."""
    answer: Answer | Callable[[Received], Answer] = 204
    """A status, or status, header and body; or what makes one of them."""
    received: list[Received] = field(default_factory=list)
    """What came, in order."""
    refused: list[Received] = field(default_factory=list)
    """What was not signed with `secret`."""
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens: `http://127.0.0.1:PORT/`; every path below is taken."""
        assert self._server is not None, "use it as a context manager: with Receiver() as receiver"
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def wait_for(self, count: int = 1, *, timeout_seconds: float = 30.0) -> list[Received]:
        """Return what was received once it is so many. Raise TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.received) >= count, timeout_seconds):
                raise TimeoutError(f"{len(self.received)} of {count} callbacks came in {timeout_seconds:g} s")
            return list(self.received)

    def __enter__(self) -> Self:
        receiver = self

        class Request(_Request):
            take = staticmethod(receiver._take)

        self._server = _Server(("127.0.0.1", 0), Request)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None and self._thread is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, came: Received) -> Answer:
        is_right = True
        if self.secret is not None:
            try:
                verify(came.headers, came.body, self.secret)
            except WrongSignature:
                is_right = False
        with self._changed:
            (self.received if is_right else self.refused).append(came)
            self._changed.notify_all()
        if not is_right:
            return 401
        return self.answer(came) if callable(self.answer) else self.answer


def verify(headers: Mapping[str, str], body: bytes, secret: str, *, now: float | None = None) -> None:
    """Raise WrongSignature unless `secret` signed this body within the last five minutes (Standard Webhooks 1.0)."""
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if not given.get(name)]
    if missing:
        raise WrongSignature(f"the header lacks {', '.join(missing)}")
    stamp, message_id = given["webhook-timestamp"], given["webhook-id"]
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 12):
        raise WrongSignature(f"webhook-timestamp {stamp[:40]!r} is no Unix time")
    if abs((time.time() if now is None else now) - int(stamp)) > TOLERANCE_SECONDS:
        raise WrongSignature("it was signed more than five minutes from now")
    if "." in message_id:
        raise WrongSignature("webhook-id holds a dot")
    expected = signed([secret], message_id, int(stamp), body)
    if expected["webhook-timestamp"] != stamp:
        raise WrongSignature(f"webhook-timestamp {stamp!r} is not written as it was signed")
    right = expected["webhook-signature"].encode()
    if not any(hmac.compare_digest(right, one.encode()) for one in given["webhook-signature"].split(" ")):
        raise WrongSignature("no signature fits this secret and body")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that hangs up is no error of the receiver."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    take: Callable[[Received], Answer]

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self._body(headers)
        answer = type(self).take(Received(path=self.path, headers=headers, body=body, at=time.monotonic()))
        status, fields, said = (answer, dict[str, str](), b"") if isinstance(answer, int) else answer
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if status != 204:
            self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the terminal of a test."""

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", ""):
            return self.rfile.read(int(headers.get("content-length", "0")))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)
