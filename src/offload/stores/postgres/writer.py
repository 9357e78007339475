"""The writer: a few lanes, each of which serves all that waits in one transaction and then answers everyone at once."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from offload.core.errors import OffloadError, StoreUnavailable
from offload.core.store_errors import StoreInDoubt
from offload.stores.postgres.links import Link
from offload.stores.postgres.statements import Connection

log = logging.getLogger("offload.store")

CALLS_MAX = 512
"""Calls of one transaction: more would only make the first wait longer."""
WAITING_MAX = 20_000
"""Calls that may wait; beyond them the database does not keep up and the caller must hear it."""
CLOSE_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Call:
    """What a caller wants written, and where the answer goes."""

    kind: str
    argument: Any
    future: "asyncio.Future[Any]"
    answer: Any = None
    error: BaseException | None = None
    given_up: bool = False
    """Its caller was told that it is not known whether anything was written."""


Perform = Callable[[Connection, int, Sequence[Call]], Awaitable[None]]
"""Write the calls in the open transaction and set each answer or error."""


class Writer:
    """Shares what is to be written among its links."""

    def __init__(self, links: Sequence[Link], perform: Perform, committed: Callable[[Sequence[Call]], None]) -> None:
        self._links = links
        self._perform = perform
        self._committed = committed
        self._waiting: deque[Call] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._lanes: list[asyncio.Task[None]] = []
        self._under_way: set[Call] = set()

    def start(self) -> None:
        self._lanes = [asyncio.get_running_loop().create_task(self._run(link)) for link in self._links]

    def call(self, kind: str, argument: Any) -> "asyncio.Future[Any]":
        """Have it written; the future is done once it is durable."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._closing or len(self._waiting) > WAITING_MAX:
            why = "the store is closed" if self._closing else f"{WAITING_MAX:,} writes are waiting for the database"
            future.set_exception(StoreUnavailable(why, retry_seconds=1))
            return future
        self._waiting.append(Call(kind, argument, future))
        self._wake.set()
        return future

    def give_up(self, future: "asyncio.Future[Any]") -> bool:
        """Wait for a call no more. What still waits is not written; return whether it is under way, and may be."""
        future.cancel()
        for call in [call for call in self._waiting if call.future is future]:
            self._waiting.remove(call)
        given_up = [call for call in self._under_way if call.future is future]
        for call in given_up:
            call.given_up = True
        return bool(given_up)

    async def close(self) -> None:
        """Write what waits."""
        self._closing = True
        self._wake.set()
        if self._lanes:
            await asyncio.wait(self._lanes, timeout=CLOSE_SECONDS)
        for lane in self._lanes:
            lane.cancel()
        await asyncio.gather(*self._lanes, return_exceptions=True)
        for link in self._links:
            await link.close()

    async def _run(self, link: Link) -> None:
        while True:
            await self._wake.wait()
            if not self._waiting:
                if self._closing:
                    return
                self._wake.clear()
                continue
            await asyncio.sleep(0)  # all who come in this turn of the loop go together
            calls = [self._waiting.popleft() for _ in range(min(len(self._waiting), CALLS_MAX))]
            self._under_way.update(calls)
            try:
                await self._write(link, calls)
            finally:
                self._under_way.difference_update(calls)
            _answer(calls)

    async def _write(self, link: Link, calls: Sequence[Call]) -> None:
        """Write all in one transaction; when one of them cannot be written, each in its own."""
        if not calls:
            return

        async def body(connection: Connection, slot: int) -> None:
            for call in calls:
                call.error = None
            await self._perform(connection, slot, calls)

        try:
            await link.transact(body)
        except asyncio.CancelledError:
            for call in calls:
                call.error = StoreInDoubt("the store was closed", retry_seconds=1)
            _answer(calls)
            raise
        except Exception as error:
            if not isinstance(error, OffloadError) and len(calls) > 1:
                for call in calls:
                    await self._write(link, [call])
                    _answer([call])  # what is stored is told now: the next ones may take long
                return
            for call in calls:
                call.error = error
            return
        try:
            self._committed(calls)
        except Exception:  # what is committed must be answered as such, and never be written again
            log.exception("the store could not tell what it committed")


def _answer(calls: Sequence[Call]) -> None:
    for call in calls:
        if call.future.done():  # its caller went away
            continue
        if call.error is None:
            call.future.set_result(call.answer)
        else:
            call.future.set_exception(call.error)
