"""The spans of requests, tasks and attempts on this node; without a tracer, traces only pass through."""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from offload.core.outcome import Failed, Outcome, Stopped, Succeeded, Unrun
from offload.core.task import Seconds, Task
from offload.core.trace import HEADER, trace_id_of
from offload.ports import Clock
from offload.ports.tracing import Span, SpanKind, Tracer

log = logging.getLogger("offload.attempts")

OPEN_MAX = 20_000
"""Attempts whose spans are held open; beyond that the oldest are given up: their ends were never heard of."""
Key = tuple[str, int]


@dataclass(slots=True)
class Outgoing:
    """A request to somebody else."""

    traceparent: str
    """What it should take along."""
    error: str = ""
    """What went wrong, if anything did."""

    @property
    def fields(self) -> dict[str, str]:
        """Return the header fields that say to which trace it belongs."""
        return {HEADER: self.traceparent} if self.traceparent else {}


class Traces:
    """Asked by every agent; what it answers is empty where there is no trace."""

    def __init__(self, tracer: Tracer | None, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock
        self._runs: OrderedDict[Key, Span] = OrderedDict()

    def request(self, method: str, parent: str) -> Span | None:
        """Begin the span of a request: of those that change something, and of those that are traced already."""
        if self._tracer is None or (method in ("GET", "HEAD", "OPTIONS") and not parent):
            return None
        return self._tracer.begin(method, SpanKind.SERVER, parent=parent, at=self._clock.now())

    def claimed(self, task: Task, now: Seconds, *, here: bool) -> None:
        """Tell of the wait that is over, and begin the run if it is on this node."""
        if self._tracer is None:
            return
        about = _about(task)
        due_at = min(now, task.run_at or now)
        wait = self._tracer.begin("wait", SpanKind.INTERNAL, parent=task.traceparent, at=due_at, attributes=about)
        wait.end(now)
        if here:
            parent = task.traceparent or wait.traceparent
            run = self._tracer.begin(_run_name(task), SpanKind.CONSUMER, parent=parent, at=now, attributes=about)
            self._runs[task.id, task.attempt] = run
            if len(self._runs) > OPEN_MAX:
                self._runs.popitem(last=False)

    def of(self, task: Task) -> str:
        """Return to what belongs that which is done for an attempt."""
        run = self._runs.get((task.id, task.attempt))
        return task.traceparent if run is None else run.traceparent

    def ended(self, task: Task, outcome: Outcome) -> None:
        """End the run of an attempt; one that ran elsewhere is told of now, whole."""
        words = _words(outcome)
        about: dict[str, str | int | float | bool] = {"offload.outcome": words}
        error = ""
        if isinstance(outcome, Failed):
            error = outcome.error.type  # what it says may quote the input, and has its place in the task
            about["error.type"] = error
        self._log(task, words, error)
        if self._tracer is None:
            return
        run = self._runs.pop((task.id, task.attempt), None)
        if run is None and isinstance(outcome, Unrun):
            return  # it was claimed for somebody elsewhere, who never got it
        if run is None:
            begun = task.started_at or self._clock.now()
            run = self._tracer.begin(
                _run_name(task), SpanKind.CONSUMER, parent=task.traceparent, at=begun, attributes=_about(task)
            )
        run.end(self._clock.now(), attributes=about, error=error)

    @contextmanager
    def calling(self, name: str, parent: str, about: Task) -> Iterator["Outgoing"]:
        """Trace a request to somebody else."""
        if self._tracer is None:
            yield Outgoing(parent)
            return
        span = self._tracer.begin(name, SpanKind.CLIENT, parent=parent, at=self._clock.now(), attributes=_about(about))
        going = Outgoing(span.traceparent)
        try:
            yield going
        except BaseException as error:
            going.error = type(error).__name__
            raise
        finally:
            span.end(self._clock.now(), error=going.error)

    def _log(self, task: Task, words: str, error: str) -> None:
        level = logging.INFO if error else logging.DEBUG
        if log.isEnabledFor(level):
            about = {"task": task.id, "job": task.job, "attempt": task.attempt, "outcome": words}
            if trace_id := trace_id_of(task.traceparent):
                about["trace_id"] = trace_id
            log.log(level, "an attempt has ended" + (f": {error}" if error else ""), extra=about)


def _run_name(task: Task) -> str:
    return f"run {task.job}"


def _about(task: Task) -> dict[str, str | int | float | bool]:
    return {
        "offload.task.id": task.id,
        "offload.job": task.job,
        "offload.queue": task.queue,
        "offload.attempt": task.attempt,
    }


def _words(outcome: Outcome) -> str:
    match outcome:
        case Succeeded():
            return "succeeded"
        case Failed(reason=reason):
            return str(reason)
        case Stopped():
            return "canceled"
        case Unrun():
            return "given back"
