"""Following a task by its event stream: resumed where it broke off, and by polling where there is none."""

from urllib.parse import quote

import msgspec

from offload.client.effects import Answer, Flow, Give, Read, Request, Send, Sleep, Unreachable
from offload.client.errors import RemoteError, ServerUnreachable, error_from, retry_after
from offload.client.replies import FINAL, Event, TaskState
from offload.client.retries import RETRIED, Rules, backoff_seconds
from offload.client.server_sent import Reader, Sent
from offload.client.waiting import FoundFile, result, state
from offload.client.watching import Watch
from offload.core.errors import OffloadError, TooManyStreams

SILENCE_SECONDS = 45.0
"""The server says something at least every 15 s: after three times that the connection is dead."""
TOLD_LATE = frozenset({"log", "output"})
"""What polling does not tell."""


def follow(rules: Rules, task_id: str, after: int = 0) -> Flow[None]:
    """Give the events numbered above `after` until the task has ended."""
    yield from _Following(rules, task_id, after).all()


def outputs(rules: Rules, task_id: str) -> Flow[None]:
    """Give what a generator job yields, then raise as `result` does unless the task is DONE."""
    following = _Following(rules, task_id, 0, only_outputs=True)
    yield from following.all()
    found = yield from result(rules, task_id)
    if not following.is_whole and not isinstance(found, FoundFile) and isinstance(found.value, list):
        for value in found.value[following.outputs :]:  # no stream was to be had: all that was yielded is the result
            yield Give(value)


class _Following:
    def __init__(self, rules: Rules, task_id: str, after: int, *, only_outputs: bool = False) -> None:
        self._rules = rules
        self._task_id = task_id
        self._after = after
        self._last = after
        self._ended = False
        """The newest state that was told is final."""
        self._told: dict[str, tuple[object, ...]] = {}
        """The newest state and progress that were told, however they were learned."""
        self._only_outputs = only_outputs
        self._only_late = False
        self._is_heard = False
        """Some stream has said something."""
        self.outputs = 0
        """How many outputs of the newest attempt were told."""
        self.is_whole = False
        """Everything that the server stored was told."""

    def all(self) -> Flow[None]:
        self.is_whole = yield from self._streamed()
        if self.is_whole:
            return
        watch, end = Watch(self._rules, self._task_id), None
        while (event := (yield from watch.next())) is not None:
            if event.kind == "status" and event.data["status"] in FINAL:
                end = event
            elif self._told.get(event.kind) != _essence(event):
                yield from self._tell(event)
        self._only_late = True  # for a task that has ended this is short, whatever was refused before
        try:
            self.is_whole = yield from self._streamed()
        except OffloadError:
            self.is_whole = False
        if end is not None:
            yield from self._tell(end)

    def _streamed(self) -> Flow[bool]:
        """Tell all events of the stream, False when it is refused. Raise ServerUnreachable."""
        failures = 0
        end: TaskState | None = None
        while True:
            before, asked_seconds, began = self._last, None, self._rules.clock()
            error: OffloadError = ServerUnreachable(f"{self._rules.url}: the event stream ended before the task did")
            try:
                answer: Answer = yield self._ask()
                if _is_stream(answer):
                    yield from self._read(answer)
                    if self._ended:
                        return True
                    if self._last == before:
                        if end is not None:  # known before the stream was asked for: there is no more to be told
                            yield from self._end_unheard(end)
                            return True
                        now = yield from state(self._rules, self._task_id)
                        if now.final:
                            end = now
                            continue
                else:
                    error = error_from(answer.status, answer.headers, answer.body)
                    if answer.status not in RETRIED - {429} or isinstance(error, TooManyStreams):
                        return False
                    asked_seconds = retry_after(answer.headers)
            except Unreachable as broken:
                if not self._is_heard and self._rules.clock() - began >= SILENCE_SECONDS:
                    return False  # somebody on the way keeps it all back until it ends
                error = ServerUnreachable(f"{self._rules.url}: {broken}")
                error.__cause__ = broken.__cause__
            failures = 1 if self._last > before else failures + 1
            if failures > self._rules.retries:
                if self._ended:
                    return True
                raise error
            yield Sleep(backoff_seconds(self._rules, failures, asked_seconds))

    def _ask(self) -> Send:
        headers = {"Accept": "text/event-stream"}
        if self._last:
            headers["Last-Event-ID"] = str(self._last)
        path = f"/v1/tasks/{quote(self._task_id, safe='')}/events"
        request = Request(method="GET", path=path, headers=headers, streams=True)
        return Send(request=request, idle_seconds=max(SILENCE_SECONDS, self._rules.timeout_seconds), deadline=None)

    def _read(self, answer: Answer) -> Flow[None]:
        """Tell what an open stream says, until it ends. Raise Unreachable when it breaks off."""
        reader = Reader()
        while piece := (yield Read(answer.stream)):
            self._is_heard = True
            try:
                for sent in reader.take(piece):
                    yield from self._heard(sent)
            except ValueError as error:
                raise RemoteError(f"the event stream is not understood: {error}", status=answer.status) from None

    def _heard(self, sent: Sent) -> Flow[None]:
        number = int(sent.id) if sent.id.isascii() and sent.id.isdigit() else 0
        if number <= self._last:  # told already, or not one of a task's events
            return
        event = Event(kind=sent.kind, data=msgspec.json.decode(sent.data), id=number)
        if not self._only_late or event.kind in TOLD_LATE:
            yield from self._tell(event)
        elif event.kind == "status":
            self._ended = event.data.get("status") in FINAL
        self._last = number

    def _tell(self, event: Event) -> Flow[None]:
        self._told[event.kind] = _essence(event)
        if event.kind == "status":
            self._ended = event.data.get("status") in FINAL
            if event.data.get("status") == "RUNNING":
                self.outputs = 0  # another attempt yields from the beginning
        elif event.kind == "output":
            self.outputs += 1
        if not self._only_outputs:
            yield Give(event)
        elif event.kind == "output":
            yield Give(event.data)

    def _end_unheard(self, end: TaskState) -> Flow[None]:
        """Tell how a task has ended whose stream does not: its events are gone."""
        if self._last > self._after or not self._after:
            yield from self._tell(Event(kind="status", data={"status": end.status, "reason": end.reason}))


def _is_stream(answer: Answer) -> bool:
    return answer.status == 200 and answer.headers.get("content-type", "").lower().startswith("text/event-stream")


def _essence(event: Event) -> tuple[object, ...]:
    if event.kind == "status":
        return (event.data.get("status"), event.data.get("reason"))
    if event.kind == "progress":
        return (event.data.get("fraction"), event.data.get("message"))
    return ()
