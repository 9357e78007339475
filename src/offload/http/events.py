"""A task's events as server-sent events: resumable by number, with a sign of life while nothing happens."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from offload.core.errors import QuotaExceeded, TooManyStreams, WrongValue
from offload.core.task import Seconds, TaskEvent
from offload.http.access import network_of
from offload.http.browsers import OWN_FIELDS
from offload.http.call import Call, until_gone
from offload.http.present import rfc3339
from offload.http.reading import task_of

BEAT_SECONDS = 15.0
NUMBER_MAX = 10**15
RETRY_MS = 1_000
"""How soon a reader that lost its stream should come back."""


class EventAnswer(Response):
    """Sends events as they come; ends when the reader has gone or does not read."""

    def __init__(self, call: Call, texts: AsyncGenerator[bytes, None]) -> None:
        super().__init__(b"", 200)
        self.raw_headers[:] = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # proxies would hold back what should be told at once
            *OWN_FIELDS,
        ]
        self._call = call
        self._texts = texts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = self._call
        client = client_of(call)
        call.stats.streams += 1
        call.stats.streams_of[client] += 1
        try:
            await self._send_to_the_end(receive, send)
        finally:
            call.stats.streams -= 1
            call.stats.streams_of[client] -= 1
            if not call.stats.streams_of[client]:
                del call.stats.streams_of[client]

    async def _send_to_the_end(self, receive: Receive, send: Send) -> None:
        call = self._call
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        sending = asyncio.ensure_future(self._send_all(send, call.config.read_seconds_max))
        gone = asyncio.ensure_future(until_gone(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for task in (sending, gone):
                task.cancel()

    async def _send_all(self, send: Send, read_seconds_max: Seconds) -> None:
        await send({"type": "http.response.body", "body": b"retry: %d\n\n" % RETRY_MS, "more_body": True})
        async with aclosing(self._texts) as texts:  # a reader that has gone is watched for no longer
            async for body in texts:
                async with asyncio.timeout(read_seconds_max):
                    await send({"type": "http.response.body", "body": body, "more_body": True})


async def get_events(call: Call) -> Response:
    """Everything that happened and happens to a task, until its final status."""
    task = await task_of(call)
    if call.stats.streams >= call.config.streams_max:
        raise TooManyStreams(f"{call.config.streams_max:,} event streams are open already", retry_seconds=5)
    own_max = call.config.streams_per_client_max
    if call.stats.streams_of[client_of(call)] >= own_max:
        whose = "this key" if call.key is not None else "this address"
        raise QuotaExceeded(
            f"{whose} has {own_max:,} event streams open already, as many as it may (streams_per_client_max)",
            retry_seconds=5,
            limit=own_max,
        )
    after = _last_number(call)
    response = EventAnswer(call, _texts(call, task.id, after))
    if call.method == "HEAD":
        plain = Response(status_code=200)
        plain.raw_headers[:] = response.raw_headers
        return plain
    return response


def client_of(call: Call) -> str:
    """Return whose share an open stream is part of."""
    if call.key is not None:
        return call.key.id
    return network_of((call.connection.get("client") or ("", 0))[0])


def event_text(event: TaskEvent) -> bytes:
    """Return one event as its lines; `data` is JSON on one line."""
    data = event.data
    if event.kind == "status" and b'"run_at"' in data:
        said = msgspec.json.decode(data)
        data = msgspec.json.encode({**said, "run_at": rfc3339(said["run_at"])} if "run_at" in said else said)
    if event.kind in ("status", "progress") and data[:1] == b"{":  # when it happened belongs to what happened
        joint = b"" if data == b"{}" else b","
        data = b'%s%s"at":"%s"}' % (data[:-1], joint, (rfc3339(event.at) or "").encode())
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.n, event.kind.encode(), data)


async def _texts(call: Call, task_id: str, after: int) -> AsyncGenerator[bytes, None]:
    async for events in call.engine.streams.follow(call.sees, task_id, after=after, beat_seconds=BEAT_SECONDS):
        yield b"".join(map(event_text, events)) or b": still here\n\n"


def _last_number(call: Call) -> int:
    given = call.header(b"last-event-id") or "0"
    if not given.isascii() or not given.isdigit() or int(given[:20]) > NUMBER_MAX:
        raise WrongValue("Last-Event-ID", f"{given[:40]!r} is not the number of an event of this task")
    return int(given)
