"""Following a task by polling, where its event stream cannot be had."""

import msgspec

from offload.client.calls import read
from offload.client.effects import Flow, Sleep
from offload.client.errors import retry_after
from offload.client.replies import Event, TaskState
from offload.client.retries import Rules
from offload.client.waiting import poll


class Watch:
    """What happens to a task, one event after the other; the server's Retry-After says how often it is asked."""

    def __init__(self, rules: Rules, task_id: str) -> None:
        self._rules = rules
        self._task_id = task_id
        self._seen: TaskState | None = None
        self._hold_seconds = 0.0
        self._not_before = 0.0
        self._ready: list[Event] = []

    def next(self) -> Flow[Event | None]:
        """Return the next event, None when the task has ended."""
        while not self._ready:
            if self._seen is not None and self._seen.final:
                return None
            began = self._rules.clock()
            if began < self._not_before:  # the server did not hold the last answer as long as it was asked to
                yield Sleep(self._not_before - began)
                began = self._not_before
            # instead of pausing and then asking, let the server hold the answer: an end is heard of at once
            answer = yield from poll(self._rules, self._task_id, self._hold_seconds)
            now = read(answer, TaskState)
            self._not_before = began + self._hold_seconds * 0.8
            self._hold_seconds = min(float(retry_after(answer.headers) or 1), 30.0)
            self._ready = _events(self._seen, now)
            self._seen = now
        return self._ready.pop(0)


def _events(before: TaskState | None, now: TaskState) -> list[Event]:
    found = []
    if before is None or (before.status, before.reason) != (now.status, now.reason):
        found.append(Event(kind="status", data={"status": now.status, "reason": now.reason}))
    if now.progress is not None and (before is None or before.progress != now.progress):
        found.insert(0 if now.final else len(found), Event(kind="progress", data=msgspec.structs.asdict(now.progress)))
    return found
