"""The server on a real socket, and raw bytes to and from it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offload.http.config import HttpConfig
from offload.http.server import serve
from tests.http.kit import Server, serving


@dataclass
class Listening:
    server: Server
    port: int
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def talk(self, *pieces: bytes, seconds: float = 30) -> bytes:
        """Send bytes on a new connection; return everything that comes until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            with suppress(ConnectionError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
            async with asyncio.timeout(seconds):
                return await _all(reader)
        finally:
            writer.close()

    async def ask(self, head: str, body: bytes = b"", **more: Any) -> bytes:
        """Send a request made of header lines; the connection is closed after it."""
        lines = [*head.split("\n"), "Connection: close", "", ""]
        return await self.talk("\r\n".join(lines).encode("latin-1") + body, **more)


@asynccontextmanager
async def listening(root: Path, *, config: HttpConfig | None = None, **more: Any) -> AsyncIterator[Listening]:
    """Serve on a free port of 127.0.0.1; leaving stops it."""
    config = config or HttpConfig()
    async with serving(root, config=config, **more) as server:
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        running = asyncio.create_task(
            serve(server.app, "127.0.0.1", 0, ready.set_result, stop, config=config, grace_seconds=1)
        )
        try:
            async with asyncio.timeout(20):
                port = await ready
            yield Listening(server, port, stop)
        finally:
            server.engine.begin_stop()
            stop.set()
            await running


async def _all(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            pieces.append(piece)
    return b"".join(pieces)
