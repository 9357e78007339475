"""Drives the client's core for async code: does what a flow asks for, and tells it what came of it."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any, TypeVar

import httpx2

from offload.client.effects import Answer, Body, Drain, Effect, Flow, Give, Read, Send, Sleep, Tell, Work
from offload.client.retries import Rules
from offload.client.transport import (
    Open,
    Talk,
    client_options,
    elsewhere_options,
    lower_names,
    request_options,
    sent_elsewhere,
    stays_open,
    too_slow,
    unreachable,
)

T = TypeVar("T")


class AsyncDriver:
    """Holds the connections; safe to share among tasks of one loop."""

    def __init__(self, rules: Rules, api_key: str | None) -> None:
        self.rules = rules
        self._http = httpx2.AsyncClient(**client_options(rules, api_key))
        self._elsewhere: httpx2.AsyncClient | None = None
        """For other places than the server, made when there is one."""

    async def run(self, flow: Flow[T]) -> T:
        """Return what a flow ends in."""
        talk = Talk(flow)
        try:
            while (effect := talk.next()) is not None:
                await self._step(talk, effect)
            return talk.value
        finally:
            await _end(talk)

    async def each(self, flow: Flow[None]) -> AsyncGenerator[Any]:
        """Yield what a flow gives, one after the other; its connections stay open in between."""
        talk = Talk(flow)
        try:
            while (effect := talk.next()) is not None:
                if isinstance(effect, Give):
                    yield effect.value
                else:
                    await self._step(talk, effect)
        finally:
            await _end(talk)

    async def aclose(self) -> None:
        await self._http.aclose()
        if self._elsewhere is not None:
            await self._elsewhere.aclose()

    async def _step(self, talk: Talk[Any], effect: Effect) -> None:
        try:
            talk.given = await self._do(effect, talk.opened)
        except httpx2.TransportError as error:
            talk.failed = unreachable(error)
        except Exception as error:
            talk.failed = error

    async def _do(self, effect: Effect, opened: list[Open]) -> Any:
        match effect:
            case Send():
                return await self._send(effect, opened)
            case Read(stream):
                return await anext(stream.pieces, b"")
            case Drain(stream):
                return await self._drained(stream)
            case Sleep(seconds):
                await asyncio.sleep(seconds)
            case Tell(listener, value):
                told = listener(value)
                if inspect.isawaitable(told):
                    await told
            case Work(do):
                return await asyncio.to_thread(do)

    async def _send(self, effect: Send, opened: list[Open]) -> Answer:
        await _close(opened)  # a flow that sends again is through with what it had open
        body = effect.request.body
        content = None if body is None else body.content if body.stream is None else _from_thread(body)
        request = self._http.build_request(**request_options(self.rules, effect), content=content)
        response = await self._http.send(request, stream=True)
        if (wanted := sent_elsewhere(effect.request, response)) is not None:
            await response.aclose()
            self._elsewhere = self._elsewhere or httpx2.AsyncClient(**elsewhere_options())
            response = await self._elsewhere.send(self._elsewhere.build_request(**wanted), stream=True)
        stream = Open(response, response.aiter_raw(), effect.deadline)
        opened.append(stream)
        headers = lower_names(response.headers)
        if stays_open(effect.request, response.status_code):
            return Answer(status=response.status_code, headers=headers, stream=stream)
        return Answer(status=response.status_code, headers=headers, body=await self._drained(stream))

    async def _drained(self, stream: Open) -> bytes:
        pieces = []
        async for piece in stream.pieces:
            pieces.append(piece)
            if stream.deadline is not None and self.rules.clock() > stream.deadline:
                raise too_slow()
        await stream.response.aclose()
        return b"".join(pieces)


async def _end(talk: Talk[Any]) -> None:
    talk.flow.close()
    await _close(talk.opened)


async def _close(opened: list[Open]) -> None:
    while opened:
        await opened.pop().response.aclose()


async def _from_thread(body: Body) -> AsyncIterator[bytes]:
    """Read files in a thread, so that a slow disk holds nobody up."""
    assert body.stream is not None
    pieces: Iterator[bytes] = body.stream()
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
