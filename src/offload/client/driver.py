"""Drives the client's core for ordinary code: does what a flow asks for, blocking, and tells it what came of it."""

import time
from collections.abc import Iterator
from typing import Any, TypeVar

import httpx2

from offload.client.effects import Answer, Drain, Effect, Flow, Give, Read, Send, Sleep, Tell, Work
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


class Driver:
    """Holds the connections; safe to share among threads."""

    def __init__(self, rules: Rules, api_key: str | None) -> None:
        self.rules = rules
        self._http = httpx2.Client(**client_options(rules, api_key))
        self._elsewhere: httpx2.Client | None = None
        """For other places than the server, made when there is one."""

    def run(self, flow: Flow[T]) -> T:
        """Return what a flow ends in."""
        talk = Talk(flow)
        try:
            while (effect := talk.next()) is not None:
                self._step(talk, effect)
            return talk.value
        finally:
            _end(talk)

    def each(self, flow: Flow[None]) -> Iterator[Any]:
        """Yield what a flow gives, one after the other; its connections stay open in between."""
        talk = Talk(flow)
        try:
            while (effect := talk.next()) is not None:
                if isinstance(effect, Give):
                    yield effect.value
                else:
                    self._step(talk, effect)
        finally:
            _end(talk)

    def close(self) -> None:
        self._http.close()
        if self._elsewhere is not None:
            self._elsewhere.close()

    def _step(self, talk: Talk[Any], effect: Effect) -> None:
        try:
            talk.given = self._do(effect, talk.opened)
        except httpx2.TransportError as error:
            talk.failed = unreachable(error)
        except Exception as error:
            talk.failed = error

    def _do(self, effect: Effect, opened: list[Open]) -> Any:
        match effect:
            case Send():
                return self._send(effect, opened)
            case Read(stream):
                return next(stream.pieces, b"")
            case Drain(stream):
                return self._drained(stream)
            case Sleep(seconds):
                time.sleep(seconds)
            case Tell(listener, value):
                listener(value)
            case Work(do):
                return do()

    def _send(self, effect: Send, opened: list[Open]) -> Answer:
        _close(opened)  # a flow that sends again is through with what it had open
        body = effect.request.body
        content = None if body is None else body.content if body.stream is None else body.stream()
        request = self._http.build_request(**request_options(self.rules, effect), content=content)
        response = self._http.send(request, stream=True)
        if (wanted := sent_elsewhere(effect.request, response)) is not None:
            response.close()
            self._elsewhere = self._elsewhere or httpx2.Client(**elsewhere_options())
            response = self._elsewhere.send(self._elsewhere.build_request(**wanted), stream=True)
        stream = Open(response, response.iter_raw(), effect.deadline)
        opened.append(stream)
        headers = lower_names(response.headers)
        if stays_open(effect.request, response.status_code):
            return Answer(status=response.status_code, headers=headers, stream=stream)
        return Answer(status=response.status_code, headers=headers, body=self._drained(stream))

    def _drained(self, stream: Open) -> bytes:
        pieces = []
        for piece in stream.pieces:
            pieces.append(piece)
            if stream.deadline is not None and self.rules.clock() > stream.deadline:
                raise too_slow()
        stream.response.close()
        return b"".join(pieces)


def _end(talk: Talk[Any]) -> None:
    talk.flow.close()
    _close(talk.opened)


def _close(opened: list[Open]) -> None:
    while opened:
        opened.pop().response.close()
