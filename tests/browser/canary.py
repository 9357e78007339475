"""A server that hears of it when something ran that should not have."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic

SECONDS_MAX = 60.0


class Canary:
    """One port of its own: an origin that is foreign to every other server's. Every path that is asked for is kept."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heard: list[str] = []
        self.pages: dict[str, tuple[str, bytes]] = {}
        """What it serves, by path: type and body."""
        canary = self

        class Answers(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                if self.path not in canary.pages:
                    canary.hear(self.path)
                media_type, body = canary.pages.get(self.path, ("text/plain", b""))
                self.send_response(200)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_HEAD = do_OPTIONS = _answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def hear(self, path: str) -> None:
        with self._changed:
            self._heard.append(path)
            self._changed.notify_all()

    @property
    def heard(self) -> list[str]:
        with self._changed:
            return list(self._heard)

    def heard_of(self, path: str, pump: Callable[[float], object]) -> None:
        """Return once a path was asked for; `pump` lets the browser's own messages through for so many milliseconds."""
        until = monotonic() + SECONDS_MAX
        while path not in self.heard:
            assert monotonic() < until, f"{path} was never asked for"
            pump(20)

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def listening() -> Iterator[Canary]:
    canary = Canary()
    thread = threading.Thread(target=canary.serve, daemon=True)
    thread.start()
    try:
        yield canary
    finally:
        canary.stop()
        thread.join()
