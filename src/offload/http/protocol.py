"""One connection: uvicorn's reader of HTTP/1.1, with the deadlines and bounds it lacks, and problems for refusals."""

import asyncio
import secrets
from collections import Counter
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from offload.http.access import network_of
from offload.http.config import HttpConfig
from offload.http.problems import PROBLEM_TYPE, PROBLEMS, problem_body

BODY_LOOK_SECONDS = 10.0
LINGER_SECONDS = 2.0
"""How long a client that was refused may go on sending, so that it comes to read why."""
EXCESS_MAX = 100
"""So many connections beyond those that may be are told so; still more are only closed."""


def bounded_protocol(config: HttpConfig) -> type["BoundedProtocol"]:
    """Return the protocol with these bounds; uvicorn makes one of it for each connection."""

    class Bounded(BoundedProtocol):
        bounds = config
        connected: ClassVar[Counter[str]] = Counter()

    return Bounded


class BoundedProtocol(HttpToolsProtocol):
    """A request's header has to arrive in time and in bounds, its body not too slowly."""

    bounds: HttpConfig
    connected: ClassVar[Counter[str]]
    """How many connections are open, by the address that they are counted against."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._from = ""
        self._in_header = True
        self._in_body = False
        self._refused = False
        self._header_bytes = 0
        self._body_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.bounds.connections_max:
            self._refuse("TooManyConnections", "try again later")
            return
        self._from = network_of((self.client or ("", 0))[0])
        self.connected[self._from] += 1
        if self.connected[self._from] > self.bounds.connections_per_address_max:
            most = self.bounds.connections_per_address_max
            self._refuse("TooManyConnections", f"{most:,} come from this address already (connections_per_address_max)")
            return
        self._timer = self.loop.call_later(self.bounds.header_seconds_max, self._header_is_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._from:
            self.connected[self._from] -= 1
            if not self.connected[self._from]:
                del self.connected[self._from]
        super().connection_lost(exc)  # calls resume_writing

    def pause_writing(self) -> None:
        """Give the client a time to read what was sent; a close would wait for it for ever."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(self.bounds.read_seconds_max, self.transport.abort)

    def resume_writing(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._is_over():
            return
        if not self._in_body:
            self._in_header = True
            self._header_bytes += len(data)
        super().data_received(data)
        if self._is_over():
            self._stop_timer()
        elif self._in_header:
            # what came so far is a header without an end; httptools itself would take it for ever
            if self._header_bytes > self.bounds.header_bytes_max + self.bounds.url_bytes_max:
                self._refuse("HeaderTooLarge", f"the header is larger than {self.bounds.header_bytes_max:,} bytes")
            elif self._timer is None:
                self._timer = self.loop.call_later(self.bounds.header_seconds_max, self._header_is_late)
        elif self._in_body:
            if self._timer is None:
                self._body_bytes = 0
                self._timer = self.loop.call_later(BODY_LOOK_SECONDS, self._look_at_body)
        else:
            self._stop_timer()

    def on_headers_complete(self) -> None:
        self._in_header, self._in_body, self._header_bytes = False, True, 0
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse("WrongRequest", "the request is not valid HTTP/1.1")

    def _header_is_late(self) -> None:
        self._timer = None
        if self._header_bytes == 0:
            self.transport.close()  # nothing ever came
        else:
            self._refuse("RequestTooSlow", f"the header took longer than {self.bounds.header_seconds_max:g} s")

    def _look_at_body(self) -> None:
        """Cut off a body that trickles. While reading is paused it is not the client who is slow."""
        self._timer = None
        if not self._in_body or self._is_over():
            return
        enough = self.bounds.body_bytes_per_second_min * BODY_LOOK_SECONDS
        if self._body_bytes < enough and not self.flow.read_paused:
            self._refuse(
                "RequestTooSlow", f"the body came at less than {self.bounds.body_bytes_per_second_min} bytes/s"
            )
            return
        self._body_bytes = 0
        self._timer = self.loop.call_later(BODY_LOOK_SECONDS, self._look_at_body)

    def _refuse(self, code: str, detail: str) -> None:
        """Answer and say no more; when another answer is under way, only close after it.

        To close while the client still sends would reset the connection, and its end of it would drop the answer.
        """
        self._stop_timer()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and (cycle.response_started or not self._in_body):
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        status = PROBLEMS[code][0]
        body = problem_body(code, status, detail, {})
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {PROBLEM_TYPE}\r\n"
            f"content-length: {len(body)}\r\noffload-request-id: {secrets.token_hex(8)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self._refused = True
        if cycle is not None and not cycle.response_complete:  # it waits for a body that nobody will read
            cycle.disconnected = True
            cycle.message_event.set()
        if self._excess() > EXCESS_MAX:
            self.transport.close()
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _excess(self) -> int:
        """Tell how many connections there are beyond those that may be, of all or of this address."""
        of_address = self.connected[self._from] if self._from else 0
        return max(
            len(self.connections) - self.bounds.connections_max, of_address - self.bounds.connections_per_address_max
        )

    def _is_over(self) -> bool:
        return self._refused or self.transport.is_closing()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
