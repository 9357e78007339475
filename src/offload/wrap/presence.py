"""Notices a client that hangs up while its answer is made."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from starlette.types import Message, Receive


class ClientLeft(ConnectionError):
    """The client hung up before its whole request had come."""


class Presence:
    """Hands on the body of a request; once that has ended, what comes can only be the client's leaving."""

    def __init__(self, receive: Receive, *, has_body: bool) -> None:
        self._receive = receive
        self._body_ended = asyncio.Event()
        if not has_body:
            self._body_ended.set()

    async def next(self) -> Message:
        """Return the next part of the body, or the disconnect."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._body_ended.set()
        return message

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body. Raise ClientLeft when it is not whole."""
        more = True
        while more:
            message = await self.next()
            if message["type"] != "http.request":
                raise ClientLeft("the client hung up")
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def until_gone(self) -> None:
        """Return when the client has hung up; not before the body has ended."""
        await self._body_ended.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def while_here(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work; cancel it when the client hangs up."""
        working, gone = asyncio.ensure_future(work), asyncio.ensure_future(self.until_gone())
        try:
            await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
        finally:
            for each in (working, gone):
                each.cancel()
            await asyncio.gather(working, gone, return_exceptions=True)
