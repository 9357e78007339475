"""One attempt in a worker process, and what the process has for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offload.core.catalog import Catalog
from offload.core.files import File
from offload.core.job import Job
from offload.core.task import Seconds
from offload.workers.child.callables import Callables
from offload.workers.child.channel import Channel
from offload.workers.child.failures import failed_by
from offload.workers.child.interrupts import Interrupts
from offload.workers.child.results import Outputs, Ready, Results
from offload.workers.child.scratch import Scratch
from offload.workers.child.speech import Later, Speech
from offload.workers.child.streams import Streams
from offload.workers.context import Context
from offload.workers.limits import memory_held_bytes
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


class Attempt:
    """A Run frame being carried out: it is begun, and then either returned or raised."""

    def __init__(
        self, child: Child, run: Run, *, must_stop: Callable[[], bool], log: Callable[[str], None] | None = None
    ) -> None:
        self.child = child
        self.ticket = run.ticket
        self.job: Job = child.catalog.jobs[run.job]
        self.speech = Speech(run.ticket, child.channel.send, child.later, log)
        self.context = Context(
            task_id=run.task_id,
            attempt=run.attempt,
            tags=run.tags,
            timeout_seconds=run.timeout_seconds,
            traceparent=run.traceparent,
            voice=self.speech,
            must_stop=must_stop,
        )
        self.scratch: Path | None = None
        self._run = run
        self._began = time.monotonic()

    def take_scratch(self) -> Path:
        """Get an empty directory; raise OSError when the disk has no room for one."""
        self.scratch = self.child.scratch.take()
        return self.scratch

    def call(self) -> Any:
        """Call the job, with what it asks for."""
        files = {each.field: File(each.path, name=each.name, type=each.type) for each in self._run.files}
        given = self.job.schema.bind(self._run.input, files)
        if self.job.takes_context is not None:
            given[self.job.takes_context] = self.context
        return self.child.callables.of(self.job)(**given)

    def ready(self, value: object) -> Ready:
        """Return the job's value as it travels."""
        assert self.scratch is not None
        self.child.channel.leave_if_forked()  # before its file replaces the one that was told of
        return self.child.results.ready(self.job, self.ticket, value, self.scratch)

    def ready_outputs(self, outputs: Outputs) -> Ready:
        """Return what a generator yielded as it travels."""
        self.child.channel.leave_if_forked()
        return self.child.results.from_json(self.job, self.ticket, outputs.json())

    def returned(self, ready: Ready) -> Returned:
        return Returned(self.ticket, self._run_seconds(), ready.json, ready.file, self.context.saw_stop)

    def raised(self, error: BaseException, *, saw_stop: bool = False) -> Raised:
        """Return what the error means; half a file for which there was no room goes, or one that was just written."""
        self.child.channel.leave_if_forked()
        self.child.results.drop(self.ticket)
        return Raised(self.ticket, self._run_seconds(), failed_by(error), saw_stop or self.context.saw_stop)

    def end(self, told: Returned | Raised) -> None:
        """Tell the server; nothing is said of this attempt afterwards."""
        self.speech.end()
        if self.child.tells_memory:
            told.memory_bytes = memory_held_bytes()
        self.child.channel.send(told)

    def _run_seconds(self) -> Seconds:
        return time.monotonic() - self._began
