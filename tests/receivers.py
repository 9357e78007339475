"""Receivers of callbacks that misbehave, each in its own way, on real sockets."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Zoo:
    """One port; the first part of a path says how the request is treated. `came` has the ids of what came by path."""

    port: int = 0
    came: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    held: int = 0
    """Connections that are kept waiting."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, kind: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/{kind}"

    async def until(self, kind: str, count: int, seconds: float = 60.0) -> list[str]:
        """Return the ids that came for a path, once there are so many."""
        async with asyncio.timeout(seconds):
            while len(self.came[kind]) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.came[kind]


@asynccontextmanager
async def zoo() -> AsyncIterator[Zoo]:
    """Listen on every loopback address of one port."""
    found = Zoo()
    open_now: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await _serve(found, reader, writer)
        open_now.discard(writer)
        writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", 0, backlog=2048)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for writer in list(open_now):
            writer.transport.abort()


async def _serve(found: Zoo, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    begin = await reader.readexactly(1)
    if begin == b"\x16":  # a TLS client at a port that speaks plain HTTP
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        return
    head = (begin + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    fields = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in head.split("\r\n")[1:])}
    await reader.readexactly(int(fields.get("content-length", "0")))
    kind = head.split(" ")[1].strip("/").partition("?")[0]
    found.came[kind].append(fields.get("webhook-id", ""))
    found.changed.set()
    if kind == "never":
        found.held += 1
        await reader.read()
        found.held -= 1
    elif kind == "reset":
        writer.transport.abort()
    elif kind == "endless":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"on and on " * 100)
            await writer.drain()
            await asyncio.sleep(0.01)
    else:
        await asyncio.sleep(2.0 if kind == "slow" else 0.0)
        status, _, field_line = {
            "good": "200 OK", "slow": "204 No Content", "gone": "410 Gone", "missing": "404 Not Found",
            "broken": "500 Oops", "busy": "429 Wait|Retry-After: 3600", "moved": "302 Found|Location: /good",
        }[kind].partition("|")  # fmt: skip
        extra = f"{field_line}\r\n" if field_line else ""
        body = "" if status.startswith("204") else f"Content-Length: {len(kind)}\r\n"
        writer.write(f"HTTP/1.1 {status}\r\n{extra}{body}\r\n{kind if body else ''}".encode())
        await writer.drain()
