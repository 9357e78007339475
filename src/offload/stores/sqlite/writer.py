"""The writer: one thread that serves everything that waits in one transaction, and then answers everyone at once."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from offload.core.errors import StoreUnavailable
from offload.core.store_errors import StoreInDoubt

log = logging.getLogger("offload.store")

CALLS_MAX = 512
"""Calls of one transaction: more would only make the first wait longer."""
WAITING_MAX = 20_000
"""Calls that may wait; beyond them the disk does not keep up and the caller must hear it."""

RETRY_SECONDS = 5


@dataclass(slots=True, eq=False)
class Call:
    """What a caller wants written, and where the answer goes."""

    kind: str
    argument: Any
    future: "asyncio.Future[Any]"
    answer: Any = None
    error: BaseException | None = None


Perform = Callable[[apsw.Connection, Sequence[Call]], Callable[[], None]]
"""Write the calls in the open transaction and set each answer or error; return what to do once it is committed."""


class Writer:
    """Owns the writing connection."""

    def __init__(
        self,
        connect: Callable[[], apsw.Connection],
        perform: Perform,
        translate: Callable[[BaseException], BaseException],
    ) -> None:
        self._connect = connect
        self._perform = perform
        self._translate = translate
        self._loop = asyncio.get_running_loop()
        self._arriving: list[Call] = []
        self._waiting: deque[Call] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._connection: apsw.Connection | None = None
        self._committing = False
        self._thread = threading.Thread(target=self._run, name="offload-writer", daemon=True)

    def start(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._thread.start()

    def call(self, kind: str, argument: Any) -> "asyncio.Future[Any]":
        """Have it written; the future is done once it is durable."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closing or len(self._waiting) > WAITING_MAX:
            why = "the store is closed" if self._closing else f"{WAITING_MAX:,} writes are waiting for the disk"
            future.set_exception(StoreUnavailable(why, retry_seconds=1))
            return future
        if not self._arriving:  # the writer is woken once for all who come in this turn of the loop
            self._loop.call_soon(self._hand_over)
        self._arriving.append(Call(kind, argument, future))
        return future

    async def close(self) -> None:
        """Write what waits, then close the connection."""
        self._hand_over()
        self._closing = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        self._waiting.extend(self._arriving)
        self._arriving.clear()
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._waiting:
                calls = [self._waiting.popleft() for _ in range(min(len(self._waiting), CALLS_MAX))]
                self._write(calls)
                self._answer(calls)
            if self._closing:
                break
        if self._connection is not None:
            self._connection.close()

    def _write(self, calls: Sequence[Call]) -> None:
        """Write all in one transaction; when one of them cannot be written, each in its own."""
        try:
            self._transact(calls)
        except Exception as error:
            meaning = self._translate(error)
            self._recover(error)
            if self._committing and isinstance(error, apsw.IOError) and not self._overwrite():
                why = f"the database could not confirm what it wrote, which may be there after a crash: {error}"
                meaning = StoreInDoubt(why, retry_seconds=RETRY_SECONDS)
            if meaning is error and len(calls) > 1:
                for call in calls:
                    self._write([call])
                return
            for call in calls:
                call.error = meaning

    def _transact(self, calls: Sequence[Call]) -> None:
        self._committing = False
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect()
        for call in calls:
            call.error = None
        connection.execute("BEGIN IMMEDIATE")
        committed = self._perform(connection, calls)
        self._committing = True
        connection.execute("COMMIT")
        self._committing = False
        try:
            committed()
        except Exception:  # what is committed must be answered as such, and never be written again
            log.exception("the counts no longer follow the store; a restart counts anew")

    def _recover(self, error: Exception) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, apsw.IOError):
                # After a failed fsync the pages in memory may differ from the disk: trust only what is read anew.
                self._connection = None
                connection.close()
        except apsw.Error:
            self._connection = None

    def _overwrite(self) -> bool:
        """Write over what a commit that failed left in the log: after a crash it would be taken for committed."""
        try:
            connection = self._connection = self._connect()
            ((version,),) = connection.execute("PRAGMA user_version").fetchall()
            connection.execute(f"PRAGMA user_version = {version}")  # the least that can be written, and changes nothing
            return True
        except Exception as error:
            log.warning("what was refused cannot be undone yet: %s", error)
            self._recover(error)
            return False

    def _answer(self, calls: Sequence[Call]) -> None:
        try:
            self._loop.call_soon_threadsafe(_resolve, calls)
        except RuntimeError:  # the loop was closed without closing the store: nobody is left to hear
            self._closing = True


def _resolve(calls: Sequence[Call]) -> None:
    for call in calls:
        if call.future.done():  # its caller went away
            continue
        if call.error is None:
            call.future.set_result(call.answer)
        else:
            call.future.set_exception(call.error)
