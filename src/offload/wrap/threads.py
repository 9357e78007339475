"""A WSGI application as an ASGI one: each request in a thread, bodies streamed both ways."""

import asyncio
import io
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from offload.wrap.apps import wsgi
from offload.wrap.heads import has_body, head_of
from offload.wrap.presence import ClientLeft, Presence

THREADS_MAX = 40
"""How many direct requests run at a time; the next ones wait."""


class Threaded:
    """Calls a WSGI application for direct requests."""

    def __init__(self, app: wsgi.App) -> None:
        self._app = app
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="wsgi")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        if scope["type"] != "http":
            return
        loop = asyncio.get_running_loop()
        brings_body = has_body(scope)
        presence = Presence(receive, has_body=brings_body)
        answer = _Answer(loop, send)
        # without a body, what comes next is for `until_gone`: an application that reads all the same must not wait
        body = io.BufferedReader(_Body(loop, presence) if brings_body else io.BytesIO(), 64 * 1024)
        environ = wsgi.environ_of(head_of(scope), body, threads=True)
        gone = asyncio.ensure_future(presence.until_gone())
        gone.add_done_callback(lambda _: answer.leave())
        try:
            await loop.run_in_executor(self._threads, _call, self._app, environ, answer)
        finally:
            gone.cancel()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _call(app: wsgi.App, environ: wsgi.Environ, answer: "_Answer") -> None:
    chunks = app(environ, answer.start_response)
    try:
        for chunk in chunks:
            if answer.client_left:
                return
            if chunk:
                answer.write(chunk)
        answer.finish()
    finally:
        if hasattr(chunks, "close"):
            chunks.close()


class _Answer:
    """What a thread says, said on the event loop; a client that reads slowly makes the thread wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        self._loop = loop
        self._send = send
        self._head: tuple[str, list[tuple[str, str]]] | None = None
        self._sent = False
        self.client_left = False

    def leave(self) -> None:
        self.client_left = True

    def start_response(self, status: str, fields: list[tuple[str, str]], error: Any = None) -> Callable[[bytes], None]:
        wsgi.check_start(began=self._head is not None, sent=self._sent, error=error)
        self._head = (status, list(fields))
        return self.write

    def write(self, chunk: bytes) -> None:
        self._begin()
        self._say({"type": "http.response.body", "body": chunk, "more_body": True})

    def finish(self) -> None:
        self._begin()
        self._say({"type": "http.response.body", "body": b"", "more_body": False})

    def _begin(self) -> None:
        if self._sent:
            return
        if self._head is None:
            raise AssertionError("the application gave a body without calling start_response")
        status, fields = self._head
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        self._sent = True
        self._say({"type": "http.response.start", "status": wsgi.split_status(status)[0], "headers": headers})

    def _say(self, message: Message) -> None:
        _on(self._loop, self._as_coroutine(message))

    async def _as_coroutine(self, message: Message) -> None:
        await self._send(message)


class _Body(io.RawIOBase):
    """The body of a request as a thread reads it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, presence: Presence) -> None:
        self._loop = loop
        self._presence = presence
        self._kept = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._kept and not self._ended:
            message = _on(self._loop, self._presence.next())
            if message["type"] != "http.request":
                raise ClientLeft("the client hung up")
            self._kept, self._ended = message.get("body", b""), not message.get("more_body", False)
        size = min(len(buffer), len(self._kept))
        buffer[:size], self._kept = self._kept[:size], self._kept[size:]
        return size


def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run_coroutine_threadsafe(work, loop).result()
