"""A child that runs many attempts at a time, in one event loop."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

from offload.core import files
from offload.core.job import Job, Kind
from offload.core.task import Seconds
from offload.workers.child.channel import ServerGone
from offload.workers.child.failures import Terminated, failed_by
from offload.workers.child.one_by_one import Child, arguments, context_of
from offload.workers.child.results import Outputs, Ready
from offload.workers.child.speech import Speech
from offload.workers.child.streams import speaking
from offload.workers.context import Context
from offload.workers.limits import memory_held_bytes
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
        self._contexts: dict[int, Context] = {}
        self._told_to_stop: set[int] = set()
        self._leaving = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
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
        speech = Speech(run.ticket, self._child.channel.send, self._child.later)
        context = context_of(run, speech, lambda: run.ticket in self._told_to_stop)
        self._running[run.ticket] = asyncio.get_running_loop().create_task(self._attempt(run, context, speech))

    def _cancel(self, ticket: int) -> None:
        if (task := self._running.get(ticket)) is not None:
            self._told_to_stop.add(ticket)
            task.cancel()

    def _terminate(self) -> None:
        for ticket in list(self._running):
            self._cancel(ticket)
        self._leaving.set()

    async def _attempt(self, run: Run, context: Context, speech: Speech) -> None:
        child, job = self._child, self._child.catalog.jobs[run.job]
        began = time.monotonic()
        ended: Returned | Raised
        scratch: Path | None = None
        speaking.set(speech.text)
        try:
            scratch = child.scratch.take()
            files.scratch.set(str(scratch))
            ready = await _Stepped(self._call(job, run, context, speech, scratch), child.tickets, run.ticket)
            ended = Returned(run.ticket, _since(began), ready.json, ready.file, context._saw_stop)
        except BaseException as error:
            # a cancellation that nobody asked for is the job's own affair, and an error like others
            saw_stop = context._saw_stop or (isinstance(error, asyncio.CancelledError) and run.ticket in self._told_to_stop)
            if saw_stop and isinstance(error, asyncio.CancelledError):
                error = Terminated().with_traceback(error.__traceback__)
            ended = Raised(run.ticket, _since(began), failed_by(error), saw_stop)
        speaking.set(None)
        speech.end()
        if child.tells_memory:
            ended.memory_bytes = memory_held_bytes()
        child.channel.send(ended)
        if scratch is not None:
            child.scratch.give_back(scratch)
        child.tickets.forget(run.ticket if len(self._running) == 1 else 0)
        self._told_to_stop.discard(run.ticket)
        del self._running[run.ticket]

    async def _call(self, job: Job, run: Run, context: Context, speech: Speech, scratch: Path) -> Ready:
        value = self._child.callables.of(job)(**arguments(job, run, context))
        if job.kind is not Kind.ASYNC_GENERATOR:
            return self._child.results.ready(job, run.ticket, await value, scratch)
        outputs = Outputs(job, self._child.results.bytes_max(job))
        async with contextlib.aclosing(value):
            async for item in value:
                if pause := speech.output(outputs.add(item)):
                    await asyncio.sleep(pause)
        return self._child.results.from_json(job, run.ticket, outputs.json())


class _Stepped:
    """Awaits a coroutine and notes at each step whose code holds the loop, for whoever asks after a crash."""

    def __init__(self, inner: Coroutine[Any, Any, Ready], tickets: Tickets, ticket: int) -> None:
        self._inner = inner
        self._tickets = tickets
        self._ticket = ticket

    def __await__(self) -> Generator[Any, Any, Ready]:
        tickets, ticket, inner = self._tickets, self._ticket, self._inner.__await__()
        send, throw = inner.send, inner.throw
        step: Callable[[], Any] = lambda: send(None)
        while True:
            tickets.stepping = ticket
            try:
                yielded = step()
            except StopIteration as done:
                result: Ready = done.value
                return result
            finally:
                tickets.stepping = 0
            try:
                sent = yield yielded
            except BaseException as error:
                thrown = error
                step = lambda: throw(thrown)  # noqa: B023  # used before it changes
            else:
                step = lambda: send(sent)  # noqa: B023


def _since(began: Seconds) -> Seconds:
    return time.monotonic() - began
