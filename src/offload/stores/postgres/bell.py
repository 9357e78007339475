"""The bell of PostgreSQL: LISTEN and NOTIFY on one connection, made anew when it is lost."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from offload.core.ring import Ring, packed, unpacked
from offload.stores.postgres.address import checked
from offload.stores.postgres.sessions import Place, connect, translated
from offload.stores.postgres.statements import Connection

log = logging.getLogger("offload.bell")

CHANNEL = "offload"
PAYLOAD_BYTES_MAX = 7_900
"""PostgreSQL takes less than 8,000."""
PAUSE_SECONDS = 0.5
"""Between two tries to connect again."""
ALIVE_SECONDS = 15.0
"""How often a silent connection is asked whether it still is one."""
RING_SECONDS = 5.0
RING = "SELECT pg_notify($1, message) FROM unnest($2::text[]) message"


class PostgresBell:
    """Rings what was committed, after it was: a NOTIFY inside a transaction would hold up the commits of all others."""

    alone = False

    def __init__(self, url: str, *, node: str) -> None:
        # nothing here has to survive anything, so its commits wait for no disk
        self._place = Place(url=checked(url), relaxed=True)
        self._node = node
        self._hear: Callable[[Ring], None] = lambda ring: None
        self._connection: Connection | None = None
        self._lost = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    async def start(self, hear: Callable[[Ring], None]) -> None:
        self._hear = hear
        try:
            await self._connect()
        except Exception as error:
            self._connection = None
            log.warning("the bell of %s: %s", self._place.name, translated(error, self._place))
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def ring(self, ring: Ring) -> None:
        connection = self._connection
        if connection is None:
            return
        messages = packed(ring, origin=self._node, bytes_max=PAYLOAD_BYTES_MAX)
        try:
            await connection.execute(RING, CHANNEL, messages, timeout=RING_SECONDS)
        except Exception as error:
            log.info("a ring was lost: %s", translated(error, self._place))
            self._lose(connection)

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.close(timeout=2.0)
            except Exception:
                connection.terminate()

    async def _connect(self) -> None:
        connection = await connect(self._place)
        self._lost.clear()
        connection.add_termination_listener(self._lose)
        try:
            await connection.add_listener(CHANNEL, self._heard)
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection

    async def _listen(self) -> None:
        while True:
            if self._connection is None:
                await self._again()
            try:
                async with asyncio.timeout(ALIVE_SECONDS):
                    await self._lost.wait()
            except TimeoutError:
                await self._ask_whether_alive()

    async def _again(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                await self._connect()
            except Exception as error:
                log.debug("no connection for the bell yet: %s", translated(error, self._place))
                continue
            self._hear(Ring(missed=True))
            return

    async def _ask_whether_alive(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            await connection.execute("SELECT 1", timeout=RING_SECONDS)
        except Exception:
            self._lose(connection)

    def _lose(self, connection: Any) -> None:
        if connection is not None and connection is self._connection:
            self._connection = None
            self._lost.set()
            # soon, for who ended it may be in the middle of it
            asyncio.get_running_loop().call_soon(_end, connection)

    def _heard(self, connection: Any, pid: int, channel: str, message: object) -> None:
        found = unpacked(str(message))
        if found is not None and found[0] != self._node:
            self._hear(found[1])


def _end(connection: Any) -> None:
    if not connection.is_closed():
        connection.terminate()
