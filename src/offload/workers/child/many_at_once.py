"""A child that runs many attempts at a time, in one event loop."""

import asyncio
import contextlib
import os
import signal
import time
import traceback
from collections.abc import Coroutine, Generator
from typing import Any

from offload.core import files
from offload.core.job import Kind
from offload.workers.child.attempt import Attempt, Child
from offload.workers.child.channel import ServerGone
from offload.workers.child.results import Outputs, Ready
from offload.workers.child.streams import speaking
from offload.workers.protocol import Cancel, Raised, Returned, Run
from offload.workers.tickets import Tickets


def serve(child: Child) -> None:
    """Run attempts until the server retires this process."""
    asyncio.run(_Loop(child).run())


class _Loop:
    """The attempts of this process, by ticket."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._running: dict[int, asyncio.Task[None]] = {}
        self._told_to_stop: set[int] = set()
        self._leaving = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._told_to_go)
        self._frames()  # those that came with Boot
        loop.add_reader(self._child.channel.link.fileno(), self._frames)
        await self._leaving.wait()
        loop.remove_reader(self._child.channel.link.fileno())
        if self._running:
            await asyncio.wait(self._running.values())

    def _frames(self) -> None:
        try:
            frames = self._child.channel.waiting()
        except ServerGone:
            self._terminate()
            return
        for frame in frames:
            match frame:
                case Run():
                    self._begin(frame)
                case Cancel():
                    self._cancel(frame.ticket)
                case _:
                    self._leaving.set()

    def _begin(self, run: Run) -> None:
        if not self._child.tickets.take(run.ticket):
            return  # recalled
        self._child.tickets.note_start(run.ticket, time.monotonic())
        attempt = Attempt(self._child, run, must_stop=lambda: run.ticket in self._told_to_stop)
        carrying = asyncio.get_running_loop().create_task(self._carry_out(attempt))
        self._running[run.ticket] = carrying
        carrying.add_done_callback(_leave_if_untold)

    def _cancel(self, ticket: int) -> None:
        if (task := self._running.get(ticket)) is not None:
            self._told_to_stop.add(ticket)
            task.cancel()

    def _told_to_go(self) -> None:
        if self._child.tickets.ending:  # else it is somebody else's signal
            self._terminate()

    def _terminate(self) -> None:
        for ticket in list(self._running):
            self._cancel(ticket)
        self._leaving.set()

    async def _carry_out(self, attempt: Attempt) -> None:
        child, ticket = self._child, attempt.ticket
        told: Returned | Raised
        speaking.set(attempt.speech.text)
        try:
            files.scratch.set(str(attempt.take_scratch()))
            told = attempt.returned(await _Stepped(_call(attempt), child.tickets, ticket))
        except BaseException as error:
            # a cancellation that nobody asked for is the job's own affair, and an error like others
            saw_stop = isinstance(error, asyncio.CancelledError) and ticket in self._told_to_stop
            told = attempt.raised(error, saw_stop=saw_stop)
        child.channel.leave_if_forked()
        speaking.set(None)
        attempt.end(told)
        if attempt.scratch is not None:
            child.scratch.give_back(attempt.scratch)
        self._told_to_stop.discard(ticket)
        del self._running[ticket]
        child.tickets.forget(child.tickets.settled)


def _leave_if_untold(carrying: "asyncio.Task[None]") -> None:
    """End the process when the end of an attempt could not be told: who waits for it hears of that at least."""
    if not carrying.cancelled() and (error := carrying.exception()) is not None:
        traceback.print_exception(error)
        os._exit(1)


async def _call(attempt: Attempt) -> Ready:
    value = attempt.call()
    if attempt.job.kind is not Kind.ASYNC_GENERATOR:
        return attempt.ready(await value)
    outputs = Outputs(attempt.job, attempt.child.results.bytes_max(attempt.job))
    async with contextlib.aclosing(value):
        async for item in value:
            if pause := attempt.speech.output(outputs.add(item)):
                await asyncio.sleep(pause)
    return attempt.ready_outputs(outputs)


class _Stepped:
    """Awaits a coroutine and notes at each step whose code holds the loop, for whoever asks after a crash."""

    def __init__(self, inner: Coroutine[Any, Any, Ready], tickets: Tickets, ticket: int) -> None:
        self._inner = inner
        self._tickets = tickets
        self._ticket = ticket

    def __await__(self) -> Generator[Any, Any, Ready]:
        tickets, ticket, inner = self._tickets, self._ticket, self._inner.__await__()
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            tickets.stepping = ticket
            try:
                yielded = inner.send(sent) if thrown is None else inner.throw(thrown)
            except StopIteration as done:
                result: Ready = done.value
                return result
            finally:
                tickets.stepping = 0
            sent = thrown = None
            try:
                sent = yield yielded
            except BaseException as error:
                thrown = error
