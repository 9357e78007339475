"""A child that runs one attempt at a time, in its main thread."""

import contextvars
import os
import time

from offload.core.job import Kind
from offload.workers.child.attempt import Attempt, Child
from offload.workers.child.results import Outputs, Ready
from offload.workers.limits import restrict_attempt
from offload.workers.protocol import Raised, Returned, Run


def serve(child: Child) -> None:
    """Run attempts in the order of their tickets until the server retires this process."""
    while not child.interrupts.terminated:
        frame = child.channel.next()
        if not isinstance(frame, Run):
            return
        if not child.tickets.take(frame.ticket):
            continue  # recalled: the server had the lock first
        child.tickets.note_start(frame.ticket, time.monotonic())
        _carry_out(child, frame)
        child.tickets.forget(child.tickets.settled)


def _carry_out(child: Child, run: Run) -> None:
    attempt = Attempt(child, run, must_stop=lambda: child.tickets.stop == run.ticket, log=_print)
    limit_before = None if attempt.job.memory_bytes is None else restrict_attempt(attempt.job.memory_bytes)
    told: Returned | Raised
    try:
        told = attempt.returned(contextvars.copy_context().run(_call, attempt))
    except BaseException as error:
        if limit_before is not None:
            restrict_attempt(limit_before)  # telling of a MemoryError needs some
        told = attempt.raised(error)
    if limit_before is not None:
        restrict_attempt(limit_before)
    child.channel.leave_if_forked()
    child.streams.end(run.ticket)
    attempt.end(told)
    _clean_up(attempt)


def _call(attempt: Attempt) -> Ready:
    child = attempt.child
    os.chdir(attempt.take_scratch())
    try:
        child.interrupts.let_in()
        value = attempt.call()
        if attempt.job.kind is not Kind.GENERATOR:
            return attempt.ready(value)
        outputs = Outputs(attempt.job, child.results.bytes_max(attempt.job))
        for item in value:
            if pause := attempt.speech.output(outputs.add(item)):
                time.sleep(pause)
        return attempt.ready_outputs(outputs)
    finally:
        child.interrupts.open = False


def _print(text: str) -> None:
    print(text, end="", flush=True)


def _clean_up(attempt: Attempt) -> None:
    """Leave nothing of the attempt to the next one."""
    os.chdir("/")
    if attempt.scratch is not None:
        attempt.child.scratch.give_back(attempt.scratch)
    attempt.child.streams.restore()
    attempt.child.interrupts.install()
