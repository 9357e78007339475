"""A wire to a PostgreSQL server that is cut at a chosen moment: before, or after, a COMMIT has come through."""

import asyncio
import contextlib
from typing import Literal, Self

COMMIT = b"COMMIT\0"

When = Literal["before", "after"]


class CutWire:
    """Listens on a port and hands bytes on to another; cuts the connection of the next commit when told to."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._cut: When | None = None
        self._for_good = False
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self.cuts = 0
        self.away = False
        """Nobody gets through."""
        self.turned_away = 0

    def cut(self, when: When, *, for_good: bool = False) -> None:
        """Cut at the next commit: before it is handed on, or instead of handing its answer back."""
        self._cut, self._for_good = when, for_good

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._pumps.add(me)
        if self.away:
            self.turned_away += 1
            writer.transport.abort()
            self._pumps.discard(me)
            return
        there = await asyncio.open_connection("127.0.0.1", self._to)
        back = asyncio.create_task(_pump(there[0], writer))
        try:
            while data := await reader.read(65536):
                if self._cut is not None and COMMIT in data:
                    when, self._cut = self._cut, None
                    self.cuts += 1
                    self.away = self._for_good
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
                    if when == "after":
                        there[1].write(data)
                        await there[0].read(1)  # the answer, which nobody will see
                    break
                there[1].write(data)
        except OSError:
            pass
        finally:
            back.cancel()
            writer.transport.abort()
            there[1].transport.abort()
            self._pumps.discard(me)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()
