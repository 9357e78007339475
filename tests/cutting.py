"""A TCP proxy that cuts connections after so many bytes, or shares them among servers, in a thread of its own."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

PIECE_BYTES = 64 * 1024


def never() -> None:
    """Let whole answers through."""


class CuttingProxy:
    """Leads to servers by turns; `cut_after` says, for each answer, how many bytes of it come through (None: all)."""

    def __init__(
        self, *server_urls: str, cut_after: Callable[[], int | None] = never, resets: bool = False, port: int = 0
    ) -> None:
        self._servers = [(parts.hostname, parts.port) for parts in map(urlsplit, server_urls)]
        self._turns = itertools.count()
        self._cut_after = cut_after
        self._resets = resets
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.cuts = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", self._port)).result(30)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._stop()).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _stop(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        serving = asyncio.all_tasks() - {asyncio.current_task()}
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await self._connection()
        if to_server is None:
            writer.transport.abort()
            return
        self._writers |= {writer, to_server[1]}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copied(reader, to_server[1]))
                group.create_task(self._cut(to_server[0], writer))
        except* (ConnectionError, _Cut):
            pass
        finally:
            self._writers -= {writer, to_server[1]}
            to_server[1].transport.abort()
            if self._resets:
                writer.transport.abort()
            else:
                writer.close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Return one to the server whose turn it is, or to the next that is there."""
        turn = next(self._turns)
        for n in range(len(self._servers)):
            host, port = self._servers[(turn + n) % len(self._servers)]
            try:
                return await asyncio.open_connection(host, port)
            except OSError:
                continue
        return None

    async def _cut(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self._cut_after()
        while piece := await reader.read(PIECE_BYTES):
            if left is not None and len(piece) >= left:
                writer.write(piece[:left])
                self.cuts += 1
                raise _Cut
            left = None if left is None else left - len(piece)
            writer.write(piece)
            await writer.drain()
        raise _Cut


class _Cut(Exception):
    pass


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    raise _Cut
