"""Links: connections that are made anew when they were lost, and transactions whose end is never left in doubt."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

from offload.core.errors import OffloadError, StoreUnavailable, TryAgain
from offload.stores.postgres.batch import Crossed
from offload.stores.postgres.sessions import (
    CROSSED,
    RETRY_SECONDS,
    Place,
    away,
    connect,
    is_gone,
    take_slot,
    translated,
)
from offload.stores.postgres.statements import Connection

log = logging.getLogger("offload.store")

RECONNECT_SECONDS = 2.0
"""How long one try to connect again may take."""
PAUSE_SECONDS = 0.2
"""After a try to connect that failed, others fail at once for so long."""
CROSSED_MAX = 20
# in a transaction that has written nothing it writes nothing either
MARK = """
    INSERT INTO marks (link, number, at) SELECT $1, $2, now() WHERE pg_current_xact_id_if_assigned() IS NOT NULL
        ON CONFLICT (link) DO UPDATE SET number = excluded.number, at = excluded.at
    RETURNING true
"""
# it waits for whoever is writing the mark, if a server has not yet noticed that the connection is gone
MARKED = """
    INSERT INTO marks (link, number, at) VALUES ($1, 0, now())
        ON CONFLICT (link) DO UPDATE SET at = excluded.at
    RETURNING number
"""

Answer = TypeVar("Answer")
Body = Callable[[Connection, int], Awaitable[Answer]]
"""What is done in a transaction; the number is the connection's slot of counters."""


class Reach:
    """What is known of the way to the database, shared by all links to it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.lost = False
        self.doubtful = asyncio.Event()
        """A connection ended, or could not be made: somebody should look."""
        self._why: BaseException = ConnectionError()
        self._next_try = 0.0

    def check(self) -> None:
        """Raise StoreUnavailable when it was not there a moment ago."""
        if asyncio.get_running_loop().time() < self._next_try:
            self.must_be_there()

    def must_be_there(self) -> None:
        """Raise StoreUnavailable when it is known to be away; who heals the way will find out when it is back."""
        if self.lost:
            raise away(self._why, self.place)

    def reached(self) -> None:
        if self.lost:
            self.lost = False
            log.warning("%s is back", self.place.name)

    def gone(self, error: BaseException) -> None:
        if not self.lost:
            log.warning("%s is away: %s", self.place.name, str(error) or type(error).__name__)
        self.lost = True
        self.doubtful.set()
        self._why = error
        self._next_try = asyncio.get_running_loop().time() + PAUSE_SECONDS


class Link:
    """One connection, used by one caller at a time."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._connection: Connection | None = None
        self._slot = 0
        self._name = uuid4().hex
        self._numbers = itertools.count(1)
        self._closing = False

    async def read(self, function: Callable[..., Awaitable[Answer]], *arguments: Any) -> Answer:
        """Ask; once more on a new connection when the old one turns out to be dead."""
        fresh = self._connection is None
        connection = await self._ready()
        try:
            answer = await function(connection, *arguments)
            self._reach.reached()
            return answer
        except BaseException as error:
            self._after(error)
            if not is_gone(error) or fresh or isinstance(error, TimeoutError):
                raise translated(error, self._reach.place) from error
        try:
            return await function(await self._ready(), *arguments)
        except BaseException as error:
            self._after(error)
            raise translated(error, self._reach.place) from error

    async def transact(self, body: Body[Answer]) -> Answer:
        """Do it in one transaction, again when it crossed another; what returned is durable, what raised is undone."""
        for _ in range(CROSSED_MAX):
            connection = await self._ready()
            try:
                await connection.execute("BEGIN")
            except BaseException as error:
                self._after(error)
                if is_gone(error) and not isinstance(error, TimeoutError):
                    continue  # the connection died while it was idle: nothing was begun
                raise translated(error, self._reach.place) from error
            try:
                answer = await body(connection, self._slot)
                number = next(self._numbers)
                writes = await connection.fetchval(MARK, self._name, number)
            except BaseException as error:
                await self._undo(error)
                if isinstance(error, (Crossed, *CROSSED)):
                    continue
                raise translated(error, self._reach.place) from error
            try:
                await connection.execute("COMMIT")
            except BaseException as error:
                self._after(error)
                if not (writes and is_gone(error) and await self._was_committed(number)):
                    raise translated(error, self._reach.place) from error
            self._reach.reached()
            return answer
        raise StoreUnavailable("too many others write the same", retry_seconds=RETRY_SECONDS)

    async def close(self) -> None:
        self._closing = True
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                await connection.close(timeout=2.0)
            except Exception:
                connection.terminate()

    async def _ready(self) -> Connection:
        connection = self._connection
        if connection is not None and not connection.is_closed():
            return connection
        self._reach.check()
        try:
            connection = await self._connected()
        except Exception as error:
            # whatever it says: it let us in once, and one that is restored or moved may refuse everybody for a while
            self._reach.gone(error)
            raise away(error, self._reach.place) from error
        self._reach.reached()
        connection.add_termination_listener(self._ended)
        self._connection = connection
        return connection

    async def _connected(self) -> Connection:
        connection = await connect(self._reach.place, timeout=RECONNECT_SECONDS)
        try:
            self._slot = await take_slot(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _ended(self, connection: Any) -> None:
        if connection is self._connection and not self._closing:
            self._reach.doubtful.set()

    def _after(self, error: BaseException) -> None:
        if is_gone(error):
            self._reach.doubtful.set()
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.terminate()

    async def _undo(self, error: BaseException) -> None:
        self._after(error)
        if self._connection is None:
            return
        try:
            await self._connection.execute("ROLLBACK")
        except Exception:
            self._drop()

    async def _was_committed(self, number: int) -> bool:
        """Ask whether a transaction whose commit was not answered is there, as soon as there is somebody to ask.

        However long that takes: until then this link could do nothing else either, and a guess would be wrong.
        """
        while not self._closing:
            try:
                connection = await self._ready()
                found: int = await connection.fetchval(MARKED, self._name)
            except OffloadError:
                await asyncio.sleep(PAUSE_SECONDS)
            except Exception as error:
                self._after(error)
                if not is_gone(error):
                    log.exception("the database cannot tell what it committed")
                    return False
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                known = "there" if found == number else "not there"
                log.info("a transaction whose commit was not answered is %s", known)
                return found == number
        log.error("nobody can tell whether a transaction was committed")
        return False


class Links:
    """A few links, lent one caller each; the one used last goes first, so that the others may rest."""

    def __init__(self, reach: Reach, count: int) -> None:
        self._reach = reach
        self._links = [Link(reach) for _ in range(count)]
        self._free: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        for link in self._links:
            self._free.put_nowait(link)
        self._working: set[asyncio.Task[Any]] = set()
        self._healing: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._healing = asyncio.get_running_loop().create_task(self._heal())

    async def read(self, function: Callable[..., Awaitable[Answer]], *arguments: Any) -> Answer:
        async with self._lent() as link:
            return await link.read(function, *arguments)

    async def transact(self, body: Body[Answer]) -> Answer:
        """Do it in one transaction, which goes on to its end also when its caller does not wait."""
        working = asyncio.get_running_loop().create_task(self._transact(body))
        self._working.add(working)
        working.add_done_callback(self._working.discard)
        return await asyncio.shield(working)

    def later(self, body: Body[None]) -> None:
        """Do it in one transaction as soon as it is possible; nobody waits for it."""
        working = asyncio.get_running_loop().create_task(self._until_done(body))
        self._working.add(working)
        working.add_done_callback(self._working.discard)

    async def close(self) -> None:
        if self._healing is not None:
            self._healing.cancel()
            await asyncio.gather(self._healing, return_exceptions=True)
        if self._working:
            await asyncio.wait(self._working, timeout=5.0)
        for link in self._links:
            await link.close()

    async def _heal(self) -> None:
        """Look for the database as soon as there is doubt, and again and again until it is back."""
        link = Link(self._reach)
        try:
            while True:
                await self._reach.doubtful.wait()
                self._reach.doubtful.clear()
                try:
                    await link.read(Connection.fetchval, "SELECT 1")
                except Exception as error:
                    log.debug("still away: %s", error)
                    self._reach.doubtful.set()
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            await link.close()

    async def _until_done(self, body: Body[None]) -> None:
        while True:
            try:
                await self._transact(body)
                return
            except TryAgain:
                await asyncio.sleep(PAUSE_SECONDS)
            except Exception:
                log.exception("what was put off could not be done")
                return

    async def _transact(self, body: Body[Answer]) -> Answer:
        async with self._lent() as link:
            return await link.transact(body)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Link]:
        if self._free.empty():
            self._reach.check()
        link = await self._free.get()
        try:
            yield link
        finally:
            self._free.put_nowait(link)
