"""A child that runs one attempt at a time, in its main thread."""

import contextvars
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offload.core.catalog import Catalog
from offload.core.files import File
from offload.core.job import Job, Kind
from offload.workers.child.callables import Callables
from offload.workers.child.channel import Channel
from offload.workers.child.failures import failed_by
from offload.workers.child.interrupts import Interrupts
from offload.workers.child.results import Outputs, Ready, Results
from offload.workers.child.scratch import Scratch
from offload.workers.child.speech import Later, Speech
from offload.workers.child.streams import Streams
from offload.workers.context import Context
from offload.workers.limits import memory_held_bytes, restrict_attempt
from offload.workers.protocol import Raised, Returned, Run
from offload.workers.tickets import Tickets


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What a worker process has, of either kind."""

    catalog: Catalog
    callables: Callables
    channel: Channel
    interrupts: Interrupts
    tickets: Tickets
    streams: Streams
    scratch: Scratch
    results: Results
    later: Later
    tells_memory: bool


def serve(child: Child) -> None:
    """Run attempts in the order of their tickets until the server retires this process."""
    while not child.interrupts.terminated:
        frame = child.channel.next()
        if not isinstance(frame, Run):
            return
        if not child.tickets.take(frame.ticket):
            continue  # recalled: the server had the lock first
        child.tickets.note_start(frame.ticket, time.monotonic())
        _attempt(child, frame)
        child.tickets.forget(frame.ticket)


def _attempt(child: Child, run: Run) -> None:
    job = child.catalog.jobs[run.job]
    scratch = child.scratch.take()
    os.chdir(scratch)
    speech = Speech(run.ticket, child.channel.send, child.later, log=_print)
    context = context_of(run, speech, lambda: child.tickets.stop == run.ticket)
    limit_before = restrict_attempt(job.memory_bytes) if job.memory_bytes is not None else None
    began = time.monotonic()
    ended: Returned | Raised
    try:
        ready = contextvars.copy_context().run(_call, child, job, run, context, speech, scratch)
        ended = Returned(run.ticket, time.monotonic() - began, ready.json, ready.file)
    except BaseException as error:
        if limit_before is not None:
            restrict_attempt(limit_before)  # telling of a MemoryError needs some
            limit_before = None
        ended = Raised(run.ticket, time.monotonic() - began, failed_by(error))
        error.__traceback__ = None
    if limit_before is not None:
        restrict_attempt(limit_before)
    child.streams.end(run.ticket)
    speech.end()
    ended.saw_stop = context._saw_stop
    if child.tells_memory:
        ended.memory_bytes = memory_held_bytes()
    child.channel.send(ended)
    _clean_up(child, scratch)


def _call(child: Child, job: Job, run: Run, context: Context, speech: Speech, scratch: Path) -> Ready:
    try:
        child.interrupts.open = True
        given = arguments(job, run, context)
        value = child.callables.of(job)(**given)
        if job.kind is Kind.GENERATOR:
            return child.results.from_json(job, run.ticket, _drain(value, Outputs(job, child.results.bytes_max(job)), speech))
        return child.results.ready(job, run.ticket, value, scratch)
    finally:
        child.interrupts.open = False


def _drain(values: Iterable[object], outputs: Outputs, speech: Speech) -> bytes:
    for value in values:
        if pause := speech.output(outputs.add(value)):
            time.sleep(pause)
    return outputs.json()


def arguments(job: Job, run: Run, context: Context) -> dict[str, Any]:
    """Return what the job is called with."""
    files = {each.field: File(each.path, name=each.name, type=each.type) for each in run.files}
    given = job.schema.bind(run.input, files)
    if job.takes_context is not None:
        given[job.takes_context] = context
    return given


def context_of(run: Run, speech: Speech, must_stop: Callable[[], bool]) -> Context:
    return Context(
        task_id=run.task_id,
        attempt=run.attempt,
        tags=run.tags,
        timeout_seconds=run.timeout_seconds,
        voice=speech,
        must_stop=must_stop,
    )


def _print(text: str) -> None:
    print(text, end="", flush=True)


def _clean_up(child: Child, scratch: Path) -> None:
    """Leave nothing of the attempt to the next one."""
    os.chdir("/")
    child.scratch.give_back(scratch)
    child.streams.restore()
    child.interrupts.install()
