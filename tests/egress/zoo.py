"""A server that misbehaves on purpose: each path is a way to do it, and what was asked of it is kept."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from offload.blobs.local import LocalBlobs
from offload.egress.limits import Limits

QUICK = Limits(
    callback_seconds=3.0, answer_seconds=0.5, header_seconds=2.0, connect_seconds=2.0, rate_seconds=0.5,
    rate_bytes_min=20_000, stall_seconds=1.0, resume_pause_seconds=0.01, blur_seconds=0.0,
)  # fmt: skip
"""Small bounds for those who run into them; what should succeed needs far less."""

TCP_ESTABLISHED = 1


@dataclass(kw_only=True)
class Visit:
    """One request, as it was sent."""

    method: str
    path: str
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    body: bytes = b""
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def say(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def answer(self, status: str, body: bytes = b"", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        await self.say("\r\n".join(lines).encode(), body)

    async def read_body(self) -> bytes:
        self.body = await self.reader.readexactly(int(self.headers["content-length"]))
        return self.body

    def reset(self) -> None:
        """Break the connection the rude way."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Visit], Awaitable[None]]


class Zoo:
    """Listen on a loopback port; what a path does is in `behaviours`, the rest answers 404."""

    def __init__(self, behaviours: dict[str, Behaviour], *, tls: ssl.SSLContext | None = None) -> None:
        self._behaviours, self._tls = behaviours, tls
        self.visits: list[Visit] = []
        self.port = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["Zoo"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for visit in self.visits:
                visit.writer.transport.abort()
            for sock in server.sockets:
                sock.close()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def paths(self) -> list[str]:
        return [visit.path for visit in self.visits]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = None
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = first.split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            visit = Visit(method=method, path=path, headers=headers, reader=reader, writer=writer)
            self.visits.append(visit)
            behaviour = self._behaviours.get(path.partition("?")[0])
            if behaviour is None:
                await visit.answer("404 Not Found", b"nothing here")
            else:
                await behaviour(visit)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.close()
            if visit is not None:
                visit.left.set()


def says(*parts: bytes, then_close: bool = True) -> Behaviour:
    """Say this, whatever is asked; then close, or stay silent until the other side has enough."""

    async def behave(visit: Visit) -> None:
        await visit.say(*parts)
        if not then_close:
            await stay(visit)

    return behave


def drips(head: bytes, drop: bytes, *, pause_seconds: float) -> Behaviour:
    """Say `drop` again and again, slowly."""

    async def behave(visit: Visit) -> None:
        await visit.say(head)
        while not visit.writer.is_closing():
            await visit.say(drop)
            await asyncio.sleep(pause_seconds)

    return behave


def floods(head: bytes, drop: bytes) -> Behaviour:
    return drips(head, drop, pause_seconds=0.0)


def redirects(location: str, status: int = 302) -> Behaviour:
    return says(f"HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())


async def stay(visit: Visit) -> None:
    """Say nothing more until the other side leaves."""
    while await visit.reader.read(65536):
        pass


async def never_read(visit: Visit) -> None:
    """Neither read nor answer, until the other side has left."""
    visit.writer.transport.pause_reading()  # type: ignore[attr-defined]
    sock = visit.writer.get_extra_info("socket")
    while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED:
        await asyncio.sleep(0.05)


async def reset(visit: Visit) -> None:
    visit.reset()


async def pieces(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@contextlib.asynccontextmanager
async def blobs(root: Path) -> AsyncIterator[LocalBlobs]:
    store = LocalBlobs(root)
    await store.start()
    yield store
