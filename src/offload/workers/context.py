"""Context: what a job knows of its task, and how it speaks while it runs."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from offload.core.errors import Canceled
from offload.core.task import Progress, Seconds


class Voice(Protocol):
    """How a Context reaches the server."""

    def progress(self, progress: Progress) -> None: ...

    def log(self, text: str) -> None: ...


class Context:
    """What a running job knows of its task. A parameter annotated `Context` receives it; clients never see it.

    Every method may be called from any thread, as often as you like: what is said too fast is coalesced, never queued.
    """

    def __init__(
        self,
        *,
        task_id: str,
        attempt: int = 1,
        tags: Mapping[str, str] | None = None,
        timeout_seconds: Seconds | None = None,
        traceparent: str = "",
        voice: Voice | None = None,
        must_stop: Callable[[], bool] | None = None,
    ) -> None:
        self._task_id = task_id
        self._attempt = attempt
        self._tags = dict(tags or {})
        self._traceparent = traceparent
        self._ends_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        self._voice = voice
        self._must_stop = must_stop
        self._saw_stop = False

    @property
    def task_id(self) -> str:
        """The id of the task, as the client knows it."""
        return self._task_id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._attempt

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags the client gave the task."""
        return self._tags

    @property
    def traceparent(self) -> str:
        """The W3C trace context of this attempt, for requests that the job makes; empty when there is no trace."""
        return self._traceparent

    @property
    def remaining_seconds(self) -> Seconds | None:
        """How long this attempt may still run, at least 0; None when it has no time limit."""
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    @property
    def deadline(self) -> Seconds | None:
        """When this attempt must have ended, in Unix time; None when it has no time limit."""
        remaining = self.remaining_seconds
        return None if remaining is None else time.time() + remaining

    @property
    def canceled(self) -> bool:
        """Whether the job should stop: its task was canceled, or its time is up.

        A job that has seen True here has about a second to clean up, and then is ended. What it returns is dropped.
        """
        if not self._saw_stop and self._must_stop is not None and self._must_stop():
            self._saw_stop = True
        return self._saw_stop

    @property
    def saw_stop(self) -> bool:
        """Whether the job has noticed that it should stop."""
        return self._saw_stop

    def check(self) -> None:
        """Raise `offload.Canceled` when the job should stop; call it in long loops and let the exception through."""
        if self.canceled:
            raise Canceled("the task was canceled or ran out of time")

    def progress(self, fraction: float | None, message: str = "") -> None:
        """Say how far the job is: a fraction from 0 to 1 (beyond is cut, None is unknown) and a few words.

        Clients see the newest at most five times a second.
        """
        if self._voice is None:
            return
        if fraction is not None:
            fraction = float(fraction)
            # not a number: JSON cannot say it
            fraction = None if fraction != fraction else min(1.0, max(0.0, fraction))
        text = str(message)[:MESSAGE_CHARACTERS_MAX].encode("utf-8", "backslashreplace").decode()
        self._voice.progress(Progress(fraction=fraction, message=text))

    def log(self, text: str) -> None:
        """Add a line to the task's log; `print` and `logging` do the same."""
        if self._voice is not None:
            self._voice.log(str(text))


MESSAGE_CHARACTERS_MAX = 1_000
