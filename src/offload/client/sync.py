"""The client for ordinary code: blocking calls, safe to share among threads."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from offload.client import callbacks, calls, downloads, following, waiting
from offload.client.callbacks import CallbackSecret, CallbackTry, SentCallback
from offload.client.driver import Driver
from offload.client.options import Options
from offload.client.orders import NewTask, as_file, as_order, find_query
from offload.client.replies import (
    Event,
    JobDescription,
    KeyDescription,
    NewKey,
    NodeDescription,
    QueueState,
    RemoteTask,
    StoredFile,
    TaskState,
)
from offload.client.retries import Rules
from offload.client.schedules import Schedules
from offload.client.transport import make_rules
from offload.client.waiting import FoundFile, FoundJson, Listener

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
        return self._client._driver.run(downloads.save(self._client._rules, self._found, Path(path)))

    def read_bytes(self) -> bytes:
        return self._client._driver.run(downloads.read_bytes(self._client._rules, self._found))

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
            return self._client._driver.run(waiting.wait(self._client._rules, self.id, timeout_seconds, listener))

    def result(self, timeout_seconds: float | None = None, *, progress: Progress = False) -> Any:
        """Wait for the result, a JSON value or a ResultFile.

        Raise TaskFailed, TaskIsCanceled, TaskIsDeleted, ResultExpired, or WaitTimeout after `timeout_seconds`.
        """
        self.wait(timeout_seconds, progress=progress)
        return self._client._given(self._client._driver.run(waiting.result(self._client._rules, self.id)))

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

    def iter_events(self, *, after: int = 0) -> Iterator[Event]:
        """Yield everything that happens to it, as it happens, until it has ended: states, progress, logs, outputs.

        Nothing is missed or told twice when the connection breaks. `after` is the `id` of the last event known already.
        """
        yield from self._client._driver.each(following.follow(self._client._rules, self.id, after))

    def stream(self) -> Iterator[Any]:
        """Yield what its generator yields, while it runs; then raise as `result` does unless it is DONE.

        An attempt that is tried again yields again from its beginning.
        """
        yield from self._client._driver.each(following.outputs(self._client._rules, self.id))

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
        self._driver = Driver(self._rules, api_key)
        self.url = self._rules.url
        self.schedules = Schedules(self._rules, self._driver.run)

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
            return self._given(self._driver.run(waiting.call(self._rules, order, wait_seconds, listener)))

    def submit(
        self, job: str, input: Mapping[str, Any] | None = None, /, *, options: Options | None = None, **parameters: Any
    ) -> Submitted:
        """Hand in a task, durable when this returns, and do not wait. Raise WrongInput, QueueFull, JobDoesNotExist."""
        order = as_order(job, input, parameters, options)
        return Submitted(self, calls.created_id(self._driver.run(calls.submit(self._rules, order))), job)

    def stream(
        self, job: str, input: Mapping[str, Any] | None = None, /, *, options: Options | None = None, **parameters: Any
    ) -> Iterator[Any]:
        """Run a generator job and yield what it yields, while it runs; raise as `call` does."""
        yield from self.submit(job, input, options=options, **parameters).stream()

    def create(
        self, job: str, input: Mapping[str, Any] | None = None, /, *, options: Options | None = None, **parameters: Any
    ) -> Submitted:
        """Create a task that does not run before `run` is called."""
        order = as_order(job, input, parameters, options)
        return Submitted(self, calls.created_id(self._driver.run(calls.create(self._rules, order, run=False))), job)

    def batch(self, tasks: Sequence[NewTask]) -> list[Submitted]:
        """Create and run up to 1,000 tasks, all or none; WrongInput's `index` says which one is wrong."""
        made = self._driver.run(
            calls.batch(self._rules, [as_order(task.job, task.input, {}, task.options) for task in tasks])
        )
        return [Submitted(self, task.id, task.job) for task in made]

    def task(self, task_id: str) -> Submitted:
        """Return a hold on a task by its id, without asking the server."""
        return Submitted(self, task_id)

    def get(self, task_id: str) -> RemoteTask:
        return self._driver.run(calls.get(self._rules, task_id))

    def status(self, task_id: str) -> TaskState:
        return self._driver.run(waiting.state(self._rules, task_id))

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
            page = self._driver.run(calls.page(self._rules, query))
            yield from page.tasks
            if page.next is None:
                return
            query["cursor"] = page.next

    def run(self, task_id: str) -> RemoteTask:
        return self._driver.run(calls.run(self._rules, task_id))

    def cancel(self, task_id: str) -> RemoteTask:
        return self._driver.run(calls.cancel(self._rules, task_id))

    def retry(self, task_id: str) -> RemoteTask:
        return self._driver.run(calls.retry(self._rules, task_id))

    def delete(self, task_id: str) -> None:
        self._driver.run(calls.delete(self._rules, task_id))

    def logs(self, task_id: str) -> str:
        return self._driver.run(calls.logs(self._rules, task_id))

    def upload_file(self, file: "str | PathLike[str] | bytes | IO[bytes]", *, name: str | None = None) -> StoredFile:
        """Store a file; `file:{id}` names it in the input of any number of tasks. Raise BodyTooLarge, DiskFull."""
        return self._driver.run(calls.upload(self._rules, as_file(file, name)))

    def download(self, task_id: str, path: str | PathLike[str]) -> Path:
        """Write the result of a DONE task to a path, JSON included; return where."""
        return self._driver.run(downloads.save_result(self._rules, task_id, Path(path)))

    def jobs(self) -> list[JobDescription]:
        return self._driver.run(calls.jobs(self._rules))

    def queues(self) -> list[QueueState]:
        return self._driver.run(calls.queues(self._rules))

    def nodes(self) -> list[NodeDescription]:
        """Return the nodes that share the server's store."""
        return self._driver.run(calls.nodes(self._rules))

    def pause(self, queue: str) -> QueueState:
        """Stop starting tasks of a queue; accepting them goes on."""
        return self._driver.run(calls.set_paused(self._rules, queue, True))

    def resume(self, queue: str) -> QueueState:
        return self._driver.run(calls.set_paused(self._rules, queue, False))

    def callbacks(self, task_id: str | None = None, *, state: str | None = None) -> Iterator[SentCallback]:
        """Yield callbacks, newest first: of one task, or in one state (PENDING, DELIVERED, GIVEN_UP)."""
        query = callbacks.callbacks_query(task_id, state)
        while True:
            page = self._driver.run(callbacks.page(self._rules, query))
            yield from page.callbacks
            if page.next is None:
                return
            query["cursor"] = page.next

    def replay_callback(self, callback_id: str) -> SentCallback:
        """Have a callback sent again, with a whole schedule of tries. Raise DeliveryDoesNotExist."""
        return self._driver.run(callbacks.replay(self._rules, callback_id))

    def test_callback(self, url: str) -> CallbackTry:
        """Have the server send a signed `callback.test` to a URL, once, and tell how it went. Raise AddressRefused."""
        return self._driver.run(callbacks.test(self._rules, url))

    def callback_secret(self, *, rotate: bool = False) -> CallbackSecret:
        """Return what signs your callbacks, a new one when `rotate`; the one before stays valid for a day."""
        return self._driver.run(callbacks.secret(self._rules, rotate=rotate))

    def keys(self) -> list[KeyDescription]:
        """Return every API key of the server, for admins."""
        return self._driver.run(calls.keys(self._rules))

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
        return self._driver.run(calls.create_key(self._rules, {**wish, **limits}))

    def revoke_key(self, key_id: str) -> KeyDescription:
        """End an API key at once, for good."""
        return self._driver.run(calls.revoke_key(self._rules, key_id))

    def close(self) -> None:
        """Close the connections; tasks go on."""
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _given(self, found: FoundFile | FoundJson) -> Any:
        return ResultFile(self, found) if isinstance(found, FoundFile) else found.value


def shown(progress: Progress, title: str) -> AbstractContextManager[Listener | None]:
    if progress is False:
        return nullcontext()
    if progress is True:
        from offload.client.progress import ProgressBar  # rich is loaded only where a bar is drawn

        return ProgressBar(title)
    return nullcontext(progress)
