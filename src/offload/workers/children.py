"""One worker process as the server sees it: what it was given, what it says, how it is stopped and how it ends."""

import asyncio
import logging
import secrets
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol

import msgspec

from offload.core.outcome import Outcome, Succeeded
from offload.core.task import Reason, Seconds, TaskError
from offload.workers import deaths, strays
from offload.workers.attempts import Attempt, Stop
from offload.workers.capture import OutputPipe
from offload.workers.link import Link
from offload.workers.process import Exit, Process
from offload.workers.protocol import (
    Boot,
    BootFailed,
    Cancel,
    Raised,
    Ready,
    Retire,
    Returned,
    Run,
    Said,
    ToServer,
    result_path,
)

log = logging.getLogger("offload.workers")

RECALL_SECONDS = 0.2
"""How long the running attempt may keep those that wait behind it."""
SHORT_SECONDS = 0.05
"""Attempts that take longer have nothing wait behind them."""
COOPERATION_SECONDS = 1.0
"""How long a job that can notice a stop has for it before TERM."""
CHATTER_SECONDS = 0.1
CHATTER_BYTES_MAX = 4096
UNSTARTED_SECONDS_MAX = 30.0
"""A process that does not even begin what it was given is not one to wait for."""


class State(Enum):
    BOOTING = auto()
    READY = auto()
    WORN = auto()
    """Finishes what it has; its successor is on the way."""
    LEAVING = auto()
    """Was told to go."""
    DEAD = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every process of a lane is started with."""

    lane: str
    environment: Mapping[str, str]
    boot: Boot
    is_async: bool
    home: Path
    """The directory of the scratch directories."""


class Owner(Protocol):
    """Who hears of a process: its lane."""

    def ready(self, child: "Child") -> None: ...

    def said(self, attempt: Attempt, said: Said) -> None: ...

    def ended(self, child: "Child", attempt: Attempt, outcome: Outcome, run_seconds: Seconds | None) -> None: ...

    def held_up(self) -> None:
        """Attempts waited behind one that is not short."""

    def recalled(self, attempt: Attempt) -> None:
        """It never began here and may begin elsewhere."""

    def leaving(self, child: "Child") -> None:
        """It takes no more work: a successor is needed."""

    def gone(self, child: "Child", *, boot_error: str | None, idle: bool) -> None:
        """The process has ended; `idle`: no attempt was in it."""

    def oom_killed(self) -> bool: ...


class Child:
    """Keeps the attempts of one process by ticket, in the order in which they were handed over."""

    def __init__(self, plan: Plan, owner: Owner) -> None:
        self.name = secrets.token_hex(8)
        self.plan = plan
        self.state = State.BOOTING
        self.was_told_to_go = False
        self.attempts: dict[int, Attempt] = {}
        self.tasks_done = 0
        self.done_by_job: Counter[str] = Counter()
        self.memory_bytes = 0
        self.scratch = plan.home / self.name
        self.untold: list[Path] = []
        """Where results may lie that a dead process did not come to tell of."""
        self.born_at = self._now()
        self._owner = owner
        self._next_ticket = 1
        self._head_at: Seconds = 0.0
        self._boot_error: str | None = None
        self._cut_off_by: str | None = None
        self._kill_at: asyncio.TimerHandle | None = None
        self._chatted_at: Seconds = 0.0
        self._start()

    def _start(self) -> None:
        mark = f"\0{self.name}:"
        environment = {**self.plan.environment, strays.CHILD_MARK: self.name}
        self.process, ends = Process.start(environment, self._exited)
        self._tickets = ends.tickets
        self._output = OutputPipe(ends.output_fd, mark=mark.encode(), on_output=self._printed)
        self._link = Link(ends.sock, on_frame=self._frame, on_end=self._cut_off)
        self._link.send(msgspec.structs.replace(self.plan.boot, mark=mark, scratch=str(self.scratch)))

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def head(self) -> Attempt | None:
        """The attempt that runs, or is about to, in a process that runs one at a time."""
        return next(iter(self.attempts.values()), None)

    def head_seconds(self, now: Seconds) -> Seconds:
        """Return for how long the head has been the head."""
        return now - self._head_at if self.attempts else 0.0

    def hand(self, attempt: Attempt, now: Seconds) -> None:
        """Give it an attempt to run after those that it has; raise FrameTooLarge when the input cannot travel."""
        task = attempt.task
        ticket = self._next_ticket
        self._link.send(
            Run(
                ticket, task.id, task.job, task.attempt, task.input, attempt.files, task.tags,
                attempt.timeout_seconds, attempt.traceparent,
            )
        )  # fmt: skip
        attempt.ticket, attempt.handed_at = self._next_ticket, now
        if not self.attempts:
            self._head_at = now
        self.attempts[attempt.ticket] = attempt
        self._next_ticket += 1

    def recall_waiting(self) -> None:
        """Take back what has not begun behind the head."""
        for attempt in list(self.attempts.values())[1:] if not self.plan.is_async else ():
            self._recall(attempt)

    def stop(self, attempt: Attempt, why: Stop, error: TaskError | None = None) -> None:
        """Make an attempt end: at once when it has not begun, else as gently as it allows."""
        now = self._now()
        if attempt.stop is None and self._tickets.recall(attempt.ticket):
            attempt.tell(why, now, error)
            self._take_out(attempt, now)
            self._owner.ended(self, attempt, attempt.unrun(), None)
            self._retire_when_done()
            return
        if attempt.stop is not None:
            return
        attempt.tell(why, now, error)
        if self.plan.is_async:
            self._link.send(Cancel(attempt.ticket))
        else:
            # one above it is told already: that has begun, so this one is over, and the news is on its way
            self._tickets.stop = max(self._tickets.stop, attempt.ticket)
            self.recall_waiting()
        self.beat(now)

    def retire(self) -> None:
        """Let it finish what it has, then leave by itself."""
        if self.state not in (State.DEAD, State.LEAVING):
            self.state, self.was_told_to_go = State.LEAVING, True
            self._link.send(Retire())
            self._kill_within(UNSTARTED_SECONDS_MAX)

    def terminate(self, grace_seconds: Seconds) -> None:
        """Send TERM to the process; what else is in it has to go with it."""
        now = self._now()
        for attempt in self._running():
            attempt.tell(Stop.NEIGHBOUR, now)
            attempt.termed = True
        self._kill_within(grace_seconds)
        self._leave()
        self._tickets.ending = True
        self.process.signal(signal.SIGTERM)

    def kill(self, why: Stop = Stop.NEIGHBOUR, error: TaskError | None = None) -> None:
        """End the process and its group now."""
        if self.state is State.DEAD:
            return
        now = self._now()
        running = self._running()
        if why is Stop.NEIGHBOUR and self._cut_off_by is not None:
            why, error = Stop.CUT_OFF, deaths.cut_off(self._cut_off_by)
        for attempt in running:
            attempt.is_blamed = len(running) == 1
            attempt.tell(why, now, error)
        self._leave()
        self.process.kill()

    def wear_out(self) -> None:
        """Give it no more work, and retire it when it has finished what it has."""
        if self.state is State.BOOTING:
            self.kill()
        elif self.state is State.READY:
            self.state = State.WORN
            self._owner.leaving(self)
        self._retire_when_done()

    def beat(self, now: Seconds) -> None:
        """Do what time asks for."""
        if not self.plan.is_async and len(self.attempts) > 1 and self.head_seconds(now) > RECALL_SECONDS:
            self._owner.held_up()
            self.recall_waiting()
        running = list(self.attempts.values()) if self.plan.is_async else list(self.attempts.values())[:1]
        for attempt in running:
            if attempt.stop is None:
                self._watch_limit(attempt, now)
            if attempt.stop is not None and not attempt.termed:
                self._press(attempt, now)

    def _retire_when_done(self) -> None:
        if self.state is State.WORN and not self.attempts:
            self.retire()

    def _running(self) -> list[Attempt]:
        """Return what may be running, after taking back what is not.

        Of several in a process that runs one at a time, the newest: it began because the others are over, and the
        news of that is on its way.
        """
        self.recall_waiting()
        running = list(self.attempts.values())
        return running if self.plan.is_async else running[-1:]

    def _watch_limit(self, attempt: Attempt, now: Seconds) -> None:
        limit = attempt.timeout_seconds
        since = attempt.handed_at if self.plan.is_async else self._head_at
        if limit is None or now - since < limit:
            return
        if self.plan.is_async or self._tickets.started >= attempt.ticket:
            since = since if self.plan.is_async else max(since, self._tickets.started_at)
            if now - since >= limit:
                self.stop(attempt, Stop.TIMEOUT)
        elif now - since > limit + UNSTARTED_SECONDS_MAX:
            log.warning("worker %d of %s does not begin what it is given: replaced", self.pid, self.plan.lane)
            self.kill()

    def _press(self, attempt: Attempt, now: Seconds) -> None:
        """Go on from asking to TERM when the attempt has had its time."""
        if attempt not in self._running():
            return
        asked_for = now - attempt.stop_at
        grace = attempt.grace_seconds
        if self.plan.is_async:
            if asked_for >= grace:
                self.terminate(min(grace, COOPERATION_SECONDS))
        elif not attempt.is_cooperative or asked_for >= min(COOPERATION_SECONDS, grace / 2):
            self.terminate(grace - asked_for)

    def _leave(self) -> None:
        if self.state is not State.LEAVING:
            self.state, self.was_told_to_go = State.LEAVING, True
            self._owner.leaving(self)

    def _recall(self, attempt: Attempt) -> None:
        if self._tickets.recall(attempt.ticket):
            self._take_out(attempt, self._now())
            self._owner.recalled(attempt)

    def _take_out(self, attempt: Attempt, now: Seconds) -> None:
        was_head = self.head is attempt
        del self.attempts[attempt.ticket]
        if was_head:
            self._head_at = now

    def _frame(self, frame: ToServer) -> None:
        match frame:
            case Returned() | Raised():
                self._attempt_ended(frame)
            case Said():
                if (attempt := self.attempts.get(frame.ticket)) is not None:
                    self._owner.said(attempt, frame)
            case Ready():
                if self.state is State.BOOTING:
                    self.state = State.READY
                    self._owner.ready(self)
            case BootFailed():
                self._boot_error = frame.message

    def _attempt_ended(self, frame: Returned | Raised) -> None:
        self._output.until(frame.ticket)
        attempt = self.attempts.get(frame.ticket)
        if attempt is None:
            return
        self._take_out(attempt, self._now())
        self.tasks_done += 1
        self.done_by_job[attempt.job.name] += 1
        self.memory_bytes = frame.memory_bytes or self.memory_bytes
        if self._tickets.stop == attempt.ticket:
            self._tickets.stop = 0
        self._tickets.settled = min(self.attempts, default=frame.ticket + 1)
        self._tickets.forget(frame.ticket)  # the child took or passed every lower one before
        was_stopped = attempt.stop is not None and (frame.saw_stop or attempt.termed)
        outcome: Outcome
        if isinstance(frame, Raised):
            outcome = attempt.stopped(frame.failed.error.traceback) if was_stopped else frame.failed
            if frame.failed.reason is Reason.OUT_OF_MEMORY:
                self.wear_out()
        elif was_stopped:
            outcome = attempt.stopped()
            if frame.file is not None:
                Path(frame.file.path).unlink(missing_ok=True)
        else:
            outcome = Succeeded(json=frame.json, file=frame.file)
        self._owner.ended(self, attempt, outcome, frame.run_seconds)
        self._retire_when_done()

    def _printed(self, ended_ticket: int, data: bytes) -> None:
        """Give output to the attempt that runs; between attempts, and in asynchronous children, it is the process's."""
        for attempt in self.attempts.values() if not self.plan.is_async else ():
            if attempt.ticket > ended_ticket:
                attempt.log.add(data)
                return
        now = self._now()
        if now - self._chatted_at >= CHATTER_SECONDS:  # nobody bounds what a stray thread prints
            self._chatted_at = now
            text = data[:CHATTER_BYTES_MAX].decode("utf-8", "replace").rstrip()
            log.info("worker %d of %s: %s", self.pid, self.plan.lane, text)

    def _cut_off(self, why: str) -> None:
        """The socket is gone: what lives on behind it cannot be reached any more."""
        log.debug("worker %d of %s: %s", self.pid, self.plan.lane, why)
        self._cut_off_by = why
        if self.state in (State.READY, State.WORN):
            self.state = State.LEAVING  # most likely it is dead already, and its end tells the owner
        self._kill_within(COOPERATION_SECONDS)

    def _kill_within(self, seconds: Seconds) -> None:
        loop = asyncio.get_running_loop()
        if self._kill_at is not None:
            seconds = min(seconds, self._kill_at.when() - loop.time())
            self._kill_at.cancel()
        self._kill_at = loop.call_later(max(0.0, seconds), self.kill)

    def _exited(self, exit: Exit) -> None:
        self._link.drain()
        self._output.close()
        if self._kill_at is not None:
            self._kill_at.cancel()
        never_ready = self.state is State.BOOTING
        self.was_told_to_go = self.was_told_to_go or self.state is State.WORN
        self.state = State.DEAD
        left, self.attempts = list(self.attempts.values()), {}
        oom_killed = exit.code == -signal.SIGKILL and self._owner.oom_killed()
        started, stepping = self._tickets.started, self._tickets.stepping
        died = deaths.Death(exit=exit, oom_killed=oom_killed, started=started, stepping=stepping)
        self._tickets.close()
        results = Path(self.plan.boot.results)
        self.untold = [result_path(results, self.name, attempt.ticket) for attempt in left]
        if left:
            log.warning("worker %d of %s: %s", self.pid, self.plan.lane, died.told)
        for attempt in left:
            if attempt.ticket > died.started and attempt.stop is None:
                self._owner.recalled(attempt)
            else:
                self._owner.ended(self, attempt, died.outcome(attempt, left), None)
        if never_ready and self._boot_error is None:
            self._boot_error = died.told
        self._owner.gone(self, boot_error=self._boot_error, idle=not left)

    def _now(self) -> Seconds:
        return asyncio.get_running_loop().time()
