"""The client for async code: the same calls over the same core, awaited; safe to share among tasks of one loop."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from offload.client import callbacks, calls, downloads, following, waiting
from offload.client.async_driver import AsyncDriver
from offload.client.callbacks import CallbackSecret, CallbackTry, SentCallback
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
from offload.client.schedules import AsyncSchedules
from offload.client.sync import Progress, shown
from offload.client.transport import make_rules
from offload.client.waiting import FoundFile, FoundJson


class AsyncResultFile:
    """A result that is a file; its bytes are read from the server when they are asked for."""

    def __init__(self, client: "AsyncClient", found: FoundFile) -> None:
        self._client = client
        self._found = found
        self.name = found.name
        self.type = found.type
        self.size = found.size

    async def save(self, path: str | PathLike[str]) -> Path:
        """Write it to a path, or into a directory under its own name; return where. An existing file is replaced."""
        return await self._client._driver.run(downloads.save(self._client._rules, self._found, Path(path)))

    async def read_bytes(self) -> bytes:
        return await self._client._driver.run(downloads.read_bytes(self._client._rules, self._found))

    def __repr__(self) -> str:
        return f"AsyncResultFile(name={self.name!r}, type={self.type!r}, size={self.size})"


class AsyncSubmitted:
    """A task on the server; see `Submitted`."""

    def __init__(self, client: "AsyncClient", task_id: str, job: str = "") -> None:
        self._client = client
        self.id = task_id
        self.job = job

    async def get(self) -> RemoteTask:
        return await self._client.get(self.id)

    async def status(self) -> TaskState:
        return await self._client.status(self.id)

    async def wait(self, timeout_seconds: float | None = None, *, progress: Progress = False) -> TaskState:
        """Wait until it has ended, however it did. Raise WaitTimeout."""
        with shown(progress, self.job or self.id[:8]) as listener:
            return await self._client._driver.run(waiting.wait(self._client._rules, self.id, timeout_seconds, listener))

    async def result(self, timeout_seconds: float | None = None, *, progress: Progress = False) -> Any:
        """Wait for the result: a JSON value or an AsyncResultFile. Raise as `Submitted.result` does."""
        await self.wait(timeout_seconds, progress=progress)
        return self._client._given(await self._client._driver.run(waiting.result(self._client._rules, self.id)))

    async def run(self) -> RemoteTask:
        return await self._client.run(self.id)

    async def cancel(self) -> RemoteTask:
        return await self._client.cancel(self.id)

    async def retry(self) -> RemoteTask:
        return await self._client.retry(self.id)

    async def delete(self) -> None:
        await self._client.delete(self.id)

    async def logs(self) -> str:
        return await self._client.logs(self.id)

    async def iter_events(self, *, after: int = 0) -> AsyncGenerator[Event]:
        """Yield everything that happens to it, until it has ended; see `Submitted.iter_events`."""
        async with aclosing(self._client._driver.each(following.follow(self._client._rules, self.id, after))) as each:
            async for event in each:
                yield event

    async def stream(self) -> AsyncGenerator[Any]:
        """Yield what its generator yields, while it runs; see `Submitted.stream`."""
        async with aclosing(self._client._driver.each(following.outputs(self._client._rules, self.id))) as each:
            async for value in each:
                yield value

    def __repr__(self) -> str:
        return f"AsyncSubmitted(id={self.id!r}, job={self.job!r})"


class AsyncClient:
    """Talks to one offload server from async code; time limits, retries and errors are those of `Client`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        timeout_seconds: float = 30.0,
        retries: int = 8,
        api_key: str | None = None,
    ) -> None:
        self._rules: Rules = make_rules(url, timeout_seconds, retries)
        self._driver = AsyncDriver(self._rules, api_key)
        self.url = self._rules.url
        self.schedules = AsyncSchedules(self._rules, self._driver.run)

    async def call(
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
        """Run a job and return its result: a JSON value, or an AsyncResultFile; see `Client.call`."""
        order = as_order(job, input, parameters, options)
        with shown(progress, job) as listener:
            return self._given(await self._driver.run(waiting.call(self._rules, order, wait_seconds, listener)))

    async def submit(
        self, job: str, input: Mapping[str, Any] | None = None, /, *, options: Options | None = None, **parameters: Any
    ) -> AsyncSubmitted:
        """Hand in a task, durable when this returns, and do not wait. Raise WrongInput, QueueFull, JobDoesNotExist."""
        order = as_order(job, input, parameters, options)
        return AsyncSubmitted(self, calls.created_id(await self._driver.run(calls.submit(self._rules, order))), job)

    async def stream(
        self, job: str, input: Mapping[str, Any] | None = None, /, *, options: Options | None = None, **parameters: Any
    ) -> AsyncGenerator[Any]:
        """Run a generator job and yield what it yields, while it runs; raise as `call` does."""
        task = await self.submit(job, input, options=options, **parameters)
        async with aclosing(task.stream()) as each:
            async for value in each:
                yield value

    async def create(
        self, job: str, input: Mapping[str, Any] | None = None, /, *, options: Options | None = None, **parameters: Any
    ) -> AsyncSubmitted:
        """Create a task that does not run before `run` is called."""
        order = as_order(job, input, parameters, options)
        return AsyncSubmitted(
            self, calls.created_id(await self._driver.run(calls.create(self._rules, order, run=False))), job
        )

    async def batch(self, tasks: Sequence[NewTask]) -> list[AsyncSubmitted]:
        """Create and run up to 1,000 tasks, all or none; WrongInput's `index` says which one is wrong."""
        orders = [as_order(task.job, task.input, {}, task.options) for task in tasks]
        return [
            AsyncSubmitted(self, task.id, task.job) for task in await self._driver.run(calls.batch(self._rules, orders))
        ]

    def task(self, task_id: str) -> AsyncSubmitted:
        """Return a hold on a task by its id, without asking the server."""
        return AsyncSubmitted(self, task_id)

    async def get(self, task_id: str) -> RemoteTask:
        return await self._driver.run(calls.get(self._rules, task_id))

    async def status(self, task_id: str) -> TaskState:
        return await self._driver.run(waiting.state(self._rules, task_id))

    async def find(
        self,
        *,
        job: str | None = None,
        queue: str | None = None,
        status: str | None = None,
        tags: Mapping[str, str] | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
    ) -> AsyncIterator[RemoteTask]:
        """Yield tasks, newest first, asking for page after page as they are used."""
        query = find_query(job, queue, status, tags, created_after=created_after, created_before=created_before)
        while True:
            page = await self._driver.run(calls.page(self._rules, query))
            for task in page.tasks:
                yield task
            if page.next is None:
                return
            query["cursor"] = page.next

    async def run(self, task_id: str) -> RemoteTask:
        return await self._driver.run(calls.run(self._rules, task_id))

    async def cancel(self, task_id: str) -> RemoteTask:
        return await self._driver.run(calls.cancel(self._rules, task_id))

    async def retry(self, task_id: str) -> RemoteTask:
        return await self._driver.run(calls.retry(self._rules, task_id))

    async def delete(self, task_id: str) -> None:
        await self._driver.run(calls.delete(self._rules, task_id))

    async def logs(self, task_id: str) -> str:
        return await self._driver.run(calls.logs(self._rules, task_id))

    async def upload_file(
        self, file: "str | PathLike[str] | bytes | IO[bytes]", *, name: str | None = None
    ) -> StoredFile:
        """Store a file; `file:{id}` names it in the input of any number of tasks. Raise BodyTooLarge, DiskFull."""
        return await self._driver.run(calls.upload(self._rules, as_file(file, name)))

    async def download(self, task_id: str, path: str | PathLike[str]) -> Path:
        """Write the result of a DONE task to a path, JSON included; return where."""
        return await self._driver.run(downloads.save_result(self._rules, task_id, Path(path)))

    async def jobs(self) -> list[JobDescription]:
        return await self._driver.run(calls.jobs(self._rules))

    async def queues(self) -> list[QueueState]:
        return await self._driver.run(calls.queues(self._rules))

    async def nodes(self) -> list[NodeDescription]:
        """Return the nodes that share the server's store."""
        return await self._driver.run(calls.nodes(self._rules))

    async def pause(self, queue: str) -> QueueState:
        """Stop starting tasks of a queue; accepting them goes on."""
        return await self._driver.run(calls.set_paused(self._rules, queue, True))

    async def resume(self, queue: str) -> QueueState:
        return await self._driver.run(calls.set_paused(self._rules, queue, False))

    async def callbacks(self, task_id: str | None = None, *, state: str | None = None) -> AsyncIterator[SentCallback]:
        """Yield callbacks, newest first: of one task, or in one state (PENDING, DELIVERED, GIVEN_UP)."""
        query = callbacks.callbacks_query(task_id, state)
        while True:
            page = await self._driver.run(callbacks.page(self._rules, query))
            for each in page.callbacks:
                yield each
            if page.next is None:
                return
            query["cursor"] = page.next

    async def replay_callback(self, callback_id: str) -> SentCallback:
        """Have a callback sent again, with a whole schedule of tries. Raise DeliveryDoesNotExist."""
        return await self._driver.run(callbacks.replay(self._rules, callback_id))

    async def test_callback(self, url: str) -> CallbackTry:
        """Have the server send a signed `callback.test` to a URL, once, and tell how it went. Raise AddressRefused."""
        return await self._driver.run(callbacks.test(self._rules, url))

    async def callback_secret(self, *, rotate: bool = False) -> CallbackSecret:
        """Return what signs your callbacks, a new one when `rotate`; the one before stays valid for a day."""
        return await self._driver.run(callbacks.secret(self._rules, rotate=rotate))

    async def keys(self) -> list[KeyDescription]:
        """Return every API key of the server, for admins."""
        return await self._driver.run(calls.keys(self._rules))

    async def create_key(
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
        return await self._driver.run(calls.create_key(self._rules, {**wish, **limits}))

    async def revoke_key(self, key_id: str) -> KeyDescription:
        """End an API key at once, for good."""
        return await self._driver.run(calls.revoke_key(self._rules, key_id))

    async def aclose(self) -> None:
        """Close the connections; tasks go on."""
        await self._driver.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _given(self, found: FoundFile | FoundJson) -> Any:
        return AsyncResultFile(self, found) if isinstance(found, FoundFile) else found.value
