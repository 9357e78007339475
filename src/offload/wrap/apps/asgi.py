"""ASGI in a worker process: the application's lifespan, and one call with a file for its response."""

import asyncio
import atexit
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from offload.core.errors import CannotLoadJobs
from offload.core.files import File
from offload.wrap.apps.messages import BrokenResponse, Head, ResponseFile

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

CHUNK_BYTES = 64 * 1024
ASGI = {"version": "3.0", "spec_version": "2.3"}


class Lifespan:
    """Begins and ends what an application holds while it serves; one that knows no lifespan is left alone."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._heard: asyncio.Queue[Message] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raise CannotLoadJobs when the application says that it cannot start."""
        self._running = asyncio.ensure_future(self._run())
        await self._tell("lifespan.startup")

    async def stop(self) -> None:
        if self._running is not None and not self._running.done():
            await self._tell("lifespan.shutdown")
            self._running.cancel()

    async def _tell(self, event: str) -> None:
        assert self._running is not None
        self._told.put_nowait({"type": event})
        heard = asyncio.ensure_future(self._heard.get())
        await asyncio.wait((heard, self._running), return_when=asyncio.FIRST_COMPLETED)
        if not heard.done():
            heard.cancel()  # it has no lifespan, or its lifespan has ended
            return
        if heard.result()["type"] == "lifespan.startup.failed":
            raise CannotLoadJobs(f"the application did not start: {heard.result().get('message', '')}")

    async def _run(self) -> None:
        async def send(message: Message) -> None:
            self._heard.put_nowait(message)

        try:
            await self._app({"type": "lifespan", "asgi": ASGI, "state": self.state}, self._told.get, send)
        except Exception:  # the standard's way to say that it has none
            pass


class Resident:
    """An ASGI application in a process that calls it once in a while; its loop rests in between."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._runner = asyncio.Runner()
        self._lifespan = Lifespan(app)
        self._runner.run(self._lifespan.start())
        atexit.register(self._close)

    def respond(self, head: Head, body: Path | None, response: ResponseFile) -> File:
        """Call the application and write what it answers. Whatever it raises without an answer comes through."""
        return self._runner.run(_respond(self._app, scope_of(head, self._lifespan.state), body, response))

    def _close(self) -> None:
        self._runner.run(self._lifespan.stop())
        self._runner.close()


def scope_of(head: Head, state: dict[str, Any]) -> Message:
    """Return what an application hears of a request."""
    return {
        "type": "http",
        "asgi": ASGI,
        "http_version": head.http_version,
        "method": head.method,
        "scheme": head.scheme,
        "path": unquote(head.path),
        "raw_path": head.path.encode("latin-1"),
        "query_string": head.query.encode("latin-1"),
        "root_path": head.root_path,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.headers],
        "client": head.client,
        "server": head.server,
        "state": dict(state),
        "extensions": {},
    }


async def _respond(app: App, scope: Message, body: Path | None, response: ResponseFile) -> File:
    with (body or Path("/dev/null")).open("rb") as source:
        size, read, ended = body.stat().st_size if body else 0, 0, asyncio.Event()
        asked = False

        async def receive() -> Message:
            nonlocal read, asked
            if asked and read >= size:
                await ended.wait()
                return {"type": "http.disconnect"}
            chunk = source.read(CHUNK_BYTES)
            asked, read = True, read + len(chunk)
            return {"type": "http.request", "body": chunk, "more_body": read < size}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                if response.started:
                    raise BrokenResponse("the response was started twice")
                fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
                response.start(message["status"], fields)
            elif message["type"] == "http.response.body" and not ended.is_set():
                response.write(message.get("body", b""))
                if not message.get("more_body", False) or response.is_too_large:
                    ended.set()

        try:
            await app(scope, receive, send)
        except Exception:
            if not ended.is_set():
                raise  # otherwise it has answered, as frameworks do before they let an error through
        if not ended.is_set():
            raise BrokenResponse("the application ended before its response did")
    return response.finish()
