"""The client for ordinary code: blocking calls, safe to share among threads."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar, cast

import httpx2

from offload.client import callbacks, calls, downloads, waiting
from offload.client.callbacks import CallbackSecret, CallbackTry, SentCallback
from offload.client.effects import Answer, Drain, Effect, Flow, Read, Send, Sleep, Tell, Work
from offload.client.options import Options
from offload.client.orders import NewTask, as_file, as_order, find_query
from offload.client.replies import (
    Event,
    JobDescription,
    KeyDescription,
    NewKey,
    QueueState,
    RemoteTask,
    StoredFile,
    TaskState,
)
from offload.client.retries import Rules
from offload.client.transport import (
    Open,
    client_options,
    lower_names,
    make_rules,
    request_options,
    stays_open,
    too_slow,
    unreachable,
)
from offload.client.waiting import FoundFile, FoundJson, Listener

T = TypeVar("T")
Progress = bool | Listener
"""False: quiet; True: a bar on the terminal; a function: called with each new TaskState."""


class ResultFile:
    """A result that is a file; its bytes are read from the server when they are asked for."""

    def __init__(self, client: "Client", found: FoundFile) -> None:
        self._client = client
        self._found = found
        self.name = found.name
        self.type = found.type
        self.size = found.size

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it to a path, or into a directory under its own name; return where. An existing file is replaced."""
        return self._client._run(downloads.save(self._client._rules, self._found, Path(path)))

    def read_bytes(self) -> bytes:
        return self._client._run(downloads.read_bytes(self._client._rules, self._found))

    def __repr__(self) -> str:
        return f"ResultFile(name={self.name!r}, type={self.type!r}, size={self.size})"


class Submitted:
    """A task on the server. It goes on whether or not anybody waits for it."""

    def __init__(self, client: "Client", task_id: str, job: str = "") -> None:
        self._client = client
        self.id = task_id
        self.job = job

    def get(self) -> RemoteTask:
        """Return the whole task as it is now."""
        return self._client.get(self.id)

    def status(self) -> TaskState:
        """Return its status, progress, place in line and ETA in seconds."""
        return self._client.status(self.id)

    def wait(self, timeout_seconds: float | None = None, *, progress: Progress = False) -> TaskState:
        """Wait until it has ended, however it did. Raise WaitTimeout."""
        with shown(progress, self.job or self.id[:8]) as listener:
            return self._client._run(waiting.wait(self._client._rules, self.id, timeout_seconds, listener))

    def result(self, timeout_seconds: float | None = None, *, progress: Progress = False) -> Any:
        """Wait for the result, a JSON value or a ResultFile.

        Raise TaskFailed, TaskIsCanceled, TaskIsDeleted, ResultExpired, or WaitTimeout after `timeout_seconds`.
        """
        self.wait(timeout_seconds, progress=progress)
        return self._client._given(self._client._run(waiting.result(self._client._rules, self.id)))

    def run(self) -> RemoteTask:
        """Run a task that was only created."""
        return self._client.run(self.id)

    def cancel(self) -> RemoteTask:
        """Cancel it; a running one is told and then stopped. Raise TaskIsFinal."""
        return self._client.cancel(self.id)

    def retry(self) -> RemoteTask:
        """Give it one more attempt after it FAILED or was CANCELED. Raise TaskIsNotFinal, TaskIsFinal."""
        return self._client.retry(self.id)

    def delete(self) -> None:
        """Drop its input, result, logs and files; a task not final is canceled first."""
        self._client.delete(self.id)

    def logs(self) -> str:
        """Return what its attempts printed and logged, newest last."""
        return self._client.logs(self.id)

    def iter_events(self) -> Iterator[Event]:
        """Yield changes of status and progress until it has ended; asks as often as the server suggests."""
        watch = waiting.Watch(self._client._rules, self.id)
        while (event := self._client._run(watch.next())) is not None:
            yield event

    def __repr__(self) -> str:
        return f"Submitted(id={self.id!r}, job={self.job!r})"


class Client:
    """Talks to one offload server.

    Each call takes at most `timeout_seconds`, its retries included; moving files and waiting for tasks take as long as
    they take, but nothing may stand still for longer. Connection errors and answers 429, 502, 503, 504 and 507 are
    retried up to `retries` times with exponential backoff and full jitter, never sooner than Retry-After (RFC 9110),
    under one Idempotency-Key, so that a retried submission never makes a second task. All errors are `OffloadError`s.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        timeout_seconds: float = 30.0,
        retries: int = 8,
        api_key: str | None = None,
    ) -> None:
        self._rules: Rules = make_rules(url, timeout_seconds, retries)
        self._http = httpx2.Client(**client_options(self._rules, api_key))
        self.url = self._rules.url

    def call(
        self,
        job: str,
        input: Mapping[str, Any] | None = None,
        /,
        *,
        wait_seconds: float | None = None,
        progress: Progress = False,
        options: Options | None = None,
        **parameters: Any,
    ) -> Any:
        """Run a job and return its result: a JSON value, or a ResultFile.

        Parameters that are paths, bytes, open binary files or `File`s are uploaded; those named like an argument of
        this method go into `input`. Raise WrongInput, JobDoesNotExist, QueueFull, TaskFailed (its `error` says how),
        or WaitTimeout after `wait_seconds`; the task goes on then.
        """
        order = as_order(job, input, parameters, options)
        with shown(progress, job) as listener:
            return self._given(self._run(waiting.call(self._rules, order, wait_seconds, listener)))

    def submit(
        self, job: str, input: Mapping[str, Any] | None = None, /, *, options: Options | None = None, **parameters: Any
    ) -> Submitted:
        """Hand in a task, durable when this returns, and do not wait. Raise WrongInput, QueueFull, JobDoesNotExist."""
        order = as_order(job, input, parameters, options)
        return Submitted(self, calls.created_id(self._run(calls.submit(self._rules, order))), job)

    def create(
        self, job: str, input: Mapping[str, Any] | None = None, /, *, options: Options | None = None, **parameters: Any
    ) -> Submitted:
        """Create a task that does not run before `run` is called."""
        order = as_order(job, input, parameters, options)
        return Submitted(self, calls.created_id(self._run(calls.create(self._rules, order, run=False))), job)

    def batch(self, tasks: Sequence[NewTask]) -> list[Submitted]:
        """Create and run up to 1,000 tasks, all or none; WrongInput's `index` says which one is wrong."""
        made = self._run(calls.batch(self._rules, [as_order(task.job, task.input, {}, task.options) for task in tasks]))
        return [Submitted(self, task.id, task.job) for task in made]

    def task(self, task_id: str) -> Submitted:
        """Return a hold on a task by its id, without asking the server."""
        return Submitted(self, task_id)

    def get(self, task_id: str) -> RemoteTask:
        return self._run(calls.get(self._rules, task_id))

    def status(self, task_id: str) -> TaskState:
        return self._run(waiting.state(self._rules, task_id))

    def find(
        self,
        *,
        job: str | None = None,
        queue: str | None = None,
        status: str | None = None,
        tags: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> Iterator[RemoteTask]:
        """Yield tasks, newest first, asking for page after page as they are used."""
        query = find_query(job, queue, status, tags, created_after=created_after, created_before=created_before)
        while True:
            page = self._run(calls.page(self._rules, query))
            yield from page.tasks
            if page.next is None:
                return
            query["cursor"] = page.next

    def run(self, task_id: str) -> RemoteTask:
        return self._run(calls.run(self._rules, task_id))

    def cancel(self, task_id: str) -> RemoteTask:
        return self._run(calls.cancel(self._rules, task_id))

    def retry(self, task_id: str) -> RemoteTask:
        return self._run(calls.retry(self._rules, task_id))

    def delete(self, task_id: str) -> None:
        self._run(calls.delete(self._rules, task_id))

    def logs(self, task_id: str) -> str:
        return self._run(calls.logs(self._rules, task_id))

    def upload_file(self, file: "str | PathLike[str] | bytes | IO[bytes]", *, name: str | None = None) -> StoredFile:
        """Store a file; `file:{id}` names it in the input of any number of tasks. Raise BodyTooLarge, DiskFull."""
        return self._run(calls.upload(self._rules, as_file(file, name)))

    def download(self, task_id: str, path: str | PathLike[str]) -> Path:
        """Write the result of a DONE task to a path, JSON included; return where."""
        return self._run(downloads.save_result(self._rules, task_id, Path(path)))

    def jobs(self) -> list[JobDescription]:
        return self._run(calls.jobs(self._rules))

    def queues(self) -> list[QueueState]:
        return self._run(calls.queues(self._rules))

    def pause(self, queue: str) -> QueueState:
        """Stop starting tasks of a queue; accepting them goes on."""
        return self._run(calls.set_paused(self._rules, queue, True))

    def resume(self, queue: str) -> QueueState:
        return self._run(calls.set_paused(self._rules, queue, False))

    def callbacks(self, task_id: str | None = None, *, state: str | None = None) -> Iterator[SentCallback]:
        """Yield callbacks, newest first: of one task, or in one state (PENDING, DELIVERED, GIVEN_UP)."""
        query = callbacks.callbacks_query(task_id, state)
        while True:
            page = self._run(callbacks.page(self._rules, query))
            yield from page.callbacks
            if page.next is None:
                return
            query["cursor"] = page.next

    def replay_callback(self, callback_id: str) -> SentCallback:
        """Have a callback sent again, with a whole schedule of tries. Raise DeliveryDoesNotExist."""
        return self._run(callbacks.replay(self._rules, callback_id))

    def test_callback(self, url: str) -> CallbackTry:
        """Have the server send a signed `callback.test` to a URL, once, and tell how it went. Raise AddressRefused."""
        return self._run(callbacks.test(self._rules, url))

    def callback_secret(self, *, rotate: bool = False) -> CallbackSecret:
        """Return what signs your callbacks, a new one when `rotate`; the one before stays valid for a day."""
        return self._run(callbacks.secret(self._rules, rotate=rotate))

    def keys(self) -> list[KeyDescription]:
        """Return every API key of the server, for admins."""
        return self._run(calls.keys(self._rules))

    def create_key(
        self,
        owner: str,
        scopes: Sequence[str],
        *,
        expires_seconds: float | None = None,
        rate: str | None = None,
        tasks_max: int | None = None,
        bytes_max: int | None = None,
    ) -> NewKey:
        """Make an API key, for admins; its `key` is told this once."""
        wish = {"owner": owner, "scopes": list(scopes), "expires_seconds": expires_seconds, "rate": rate}
        limits = {"tasks_max": tasks_max, "bytes_max": bytes_max}
        return self._run(calls.create_key(self._rules, {**wish, **limits}))

    def revoke_key(self, key_id: str) -> KeyDescription:
        """End an API key at once, for good."""
        return self._run(calls.revoke_key(self._rules, key_id))

    def close(self) -> None:
        """Close the connections; tasks go on."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _given(self, found: FoundFile | FoundJson) -> Any:
        return ResultFile(self, found) if isinstance(found, FoundFile) else found.value

    def _run(self, flow: Flow[T]) -> T:
        """Drive a flow: do what it asks for and tell it what came of it."""
        opened: list[Open] = []
        given: Any = None
        failed: Exception | None = None
        try:
            while True:
                try:
                    effect = flow.send(given) if failed is None else flow.throw(failed)
                except StopIteration as end:
                    return cast(T, end.value)
                given, failed = None, None
                try:
                    given = self._do(effect, opened)
                except httpx2.TransportError as error:
                    failed = unreachable(error)
                except Exception as error:
                    failed = error
        finally:
            flow.close()
            for each in opened:
                each.response.close()

    def _do(self, effect: Effect, opened: list[Open]) -> Any:
        match effect:
            case Send():
                return self._send(effect, opened)
            case Read(stream):
                return next(stream.pieces, b"")
            case Drain(stream):
                return self._drained(stream)
            case Sleep(seconds):
                time.sleep(seconds)
            case Tell(listener, value):
                listener(value)
            case Work(do):
                return do()

    def _send(self, effect: Send, opened: list[Open]) -> Answer:
        body = effect.request.body
        content = None if body is None else body.content if body.stream is None else body.stream()
        request = self._http.build_request(**request_options(self._rules, effect), content=content)
        response = self._http.send(request, stream=True)
        stream = Open(response, response.iter_raw(), effect.deadline)
        opened.append(stream)
        headers = lower_names(response.headers)
        if stays_open(effect.request, response.status_code):
            return Answer(status=response.status_code, headers=headers, stream=stream)
        return Answer(status=response.status_code, headers=headers, body=self._drained(stream))

    def _drained(self, stream: Open) -> bytes:
        pieces = []
        for piece in stream.pieces:
            pieces.append(piece)
            if stream.deadline is not None and self._rules.clock() > stream.deadline:
                raise too_slow()
        stream.response.close()
        return b"".join(pieces)


def shown(progress: Progress, title: str) -> AbstractContextManager[Listener | None]:
    if progress is False:
        return nullcontext()
    if progress is True:
        from offload.client.progress import ProgressBar  # rich is loaded only where a bar is drawn

        return ProgressBar(title)
    return nullcontext(progress)
