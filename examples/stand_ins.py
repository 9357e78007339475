"""Stand-ins for what belongs to others: a mail server that only collects, and a print shop that is easily overrun."""

import contextlib
import http.server
import itertools
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from typing import Any, cast


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100


class MailCatcher(_Server):
    """Keeps the mail it gets. Who is written to says how it goes:

    `busy@…` is told 451 the first time, `nobody@…` is refused for good, and for `lost@…` the first message is taken and
    the connection cut before that is confirmed.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MailSession)
        self.messages: list[bytes] = []
        self.seen: set[str] = set()

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.server_address[1]}"

    def is_first(self, address: str) -> bool:
        first = address not in self.seen
        self.seen.add(address)
        return first


class _MailSession(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        catcher = cast(MailCatcher, self.server)
        to = ""
        self._say("220 stand-in for a mail server")
        while line := self.rfile.readline().decode("ascii", "replace").strip():
            verb = line.upper().split(":")[0].split(" ")[0]
            if verb == "RCPT":
                to = line.partition("<")[2].partition(">")[0]
                self._say(self._welcome(catcher, to))
            elif verb == "DATA":
                self._say("354 go on, end with a dot")
                catcher.messages.append(self._message())
                if to.startswith("lost@") and catcher.is_first(to):
                    return
                self._say(f"250 kept as number {len(catcher.messages)}")
            elif verb == "QUIT":
                self._say("221 good bye")
                return
            else:
                self._say("250 fine")

    def _welcome(self, catcher: MailCatcher, to: str) -> str:
        if to.startswith("nobody@"):
            return "550 nobody of that name lives here"
        if to.startswith("busy@") and catcher.is_first(to):
            return "451 busy, come again later"
        return "250 fine"

    def _message(self) -> bytes:
        lines = iter(self.rfile.readline, b".\r\n")
        return b"".join(line[1:] if line.startswith(b"..") else line for line in lines)

    def _say(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\r\n")


class PrintShop(_Server):
    """Takes POST /orders, slowly, and only so many a second; knows an order again by its Idempotency-Key.

    A text with `too rude` in it is refused. Of one with `lost` in it the order is taken, and the first answer lost.
    """

    def __init__(self, *, orders_per_second: int = 5, seconds_each: float = 0.1) -> None:
        super().__init__(("127.0.0.1", 0), _Counter)
        self.orders: dict[str, dict[str, Any]] = {}
        self.turned_away = 0
        self.at_once_most = 0
        self.seconds_each = seconds_each
        self._per_second = orders_per_second
        self._numbers = itertools.count(1)
        self._recent: list[float] = []
        self._at_once = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @contextlib.contextmanager
    def visit(self) -> Iterator[bool]:
        """Tell whether there is time for one more order in this second."""
        now = time.monotonic()
        with self._lock:
            self._recent = [moment for moment in self._recent if moment > now - 1]
            welcome = len(self._recent) < self._per_second
            if welcome:
                self._recent.append(now)
            else:
                self.turned_away += 1
            self._at_once += 1
            self.at_once_most = max(self.at_once_most, self._at_once)
        try:
            yield welcome
        finally:
            with self._lock:
                self._at_once -= 1

    def order(self, key: str, wish: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Return the order of that key, and whether it is new."""
        with self._lock:
            is_new = key not in self.orders
            if is_new:
                self.orders[key] = {"number": f"P{next(self._numbers):05}", **wish}
            return self.orders[key], is_new


class _Counter(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        shop = cast(PrintShop, self.server)
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Idempotency-Key")
        with shop.visit() as welcome:
            if not welcome:
                return self._answer(429, {"error": "too many orders"}, {"Retry-After": "1"})
            if key is None:
                return self._answer(400, {"error": "an Idempotency-Key is needed"})
            if "too rude" in wish["text"]:
                return self._answer(422, {"error": "we do not print that"})
            threading.Event().wait(shop.seconds_each)
            order, is_new = shop.order(key, wish)
            if "lost" in wish["text"] and is_new:
                self.close_connection = True
                return None
            return self._answer(201 if is_new else 200, order)

    def _answer(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def running(server: _Server) -> Iterator[None]:
    """Serve in a thread of this process for as long as the block lasts."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
