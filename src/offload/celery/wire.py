"""What is said to Celery and asked of it: blocking calls, each bounded in time, for threads of their own."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from amqp.exceptions import ChannelError, NotFound
from celery import Celery
from celery.backends.base import BaseKeyValueStoreBackend
from kombu.utils.json import dumps

from offload.celery.app import keeps_results
from offload.core.task import Record

SENT = "SENT"
"""A state of our own, written before a message is sent: whoever looks later knows that it was."""
PENDING, REVOKED = "PENDING", "REVOKED"
ASK_SECONDS = 1.0
"""How long workers may take to answer."""


class Away(Exception):
    """The broker or the result backend does not answer."""


class Meta(msgspec.Struct, frozen=True):
    """What the result backend says of a message: its state, and the result, progress or error as JSON."""

    status: str
    result: msgspec.Raw = msgspec.Raw(b"null")
    traceback: str | None = None


class Message(Record, frozen=True, kw_only=True):
    """A call of a task."""

    id: str
    task: str
    args: list[Any]
    kwargs: dict[str, Any]


class Worker(Record, frozen=True, kw_only=True):
    """One of Celery's workers, as it says itself."""

    name: str
    pid: int = 0
    places: int = 0
    queues: tuple[str, ...] = ()
    answers_always: bool = True
    """False: it says nothing while it works, so its silence means nothing."""


class Wire:
    """Send, poll and revoke are for one thread and `look` for another; results of rpc:// go to the thread that sent."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._keeps = keeps_results(app)

    @property
    def keeps(self) -> bool:
        """Results can be read by any process, also after this one."""
        return self._keeps

    def send(self, message: Message) -> None:
        """Send a call. Raise Away when it certainly was not sent; what is not certain counts as sent."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0.1)
            if self._keeps:
                self._app.backend.store_result(message.id, None, SENT)
        except Exception as error:
            raise _away(error) from error
        with suppress(Exception):
            self._app.tasks[message.task].apply_async(
                args=message.args, kwargs=message.kwargs, task_id=message.id,
                serializer="json", retry=False, ignore_result=False,
            )  # fmt: skip

    def states(self, ids: Sequence[str]) -> dict[str, Meta]:
        """Return what is known of messages; nothing of those that nobody ever heard of. Raise Away."""
        try:
            if isinstance(self._app.backend, BaseKeyValueStoreBackend):
                return self._stored(self._app.backend, ids)
            found = {message_id: _meta(self._app.backend.get_task_meta(message_id)) for message_id in ids}
        except Exception as error:
            raise _away(error) from error
        return {message_id: meta for message_id, meta in found.items() if meta.status != PENDING}

    def revoke(self, message_id: str, *, signal: str) -> None:
        """Have it discarded by whoever gets it, and stopped by whoever runs it. Raise Away."""
        try:
            self._app.control.revoke(message_id, terminate=True, signal=signal)
        except Exception as error:
            raise _away(error) from error

    def close_book(self, message_id: str) -> None:
        """Write down that nothing more will come of a message. Raise Away."""
        if not self._keeps:
            return
        try:
            self._app.backend.mark_as_revoked(message_id, "offload does not wait for it any more", store_result=True)
        except Exception as error:
            raise _away(error) from error

    def workers(self) -> list[Worker]:
        """Return the workers that answer. Raise Away."""
        try:
            stats = self._app.control.inspect(timeout=ASK_SECONDS).stats() or {}
            queues = self._app.control.inspect(timeout=ASK_SECONDS, limit=len(stats) or None).active_queues() or {}
        except Exception as error:
            raise _away(error) from error
        return [_worker(name, said, queues.get(name, ())) for name, said in sorted(stats.items())]

    def held(self, ids: Iterable[str], workers: int) -> dict[str, str]:
        """Return which messages a worker has, and which worker. Raise Away."""
        wanted = set(ids)
        found: dict[str, str] = {}
        try:
            inspect = self._app.control.inspect(timeout=ASK_SECONDS, limit=workers or None)
            for name, known in (inspect.query_task(*wanted) or {}).items():
                found.update((message_id, name) for message_id, (state, _) in known.items() if state != "ready")
            if wanted - found.keys():
                inspect = self._app.control.inspect(timeout=ASK_SECONDS, limit=workers or None)
                for name, waiting in (inspect.scheduled() or {}).items():  # those that Celery tries again later
                    found.update((entry["request"]["id"], name) for entry in waiting)
        except Exception as error:
            raise _away(error) from error
        return {message_id: name for message_id, name in found.items() if message_id in wanted}

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue, as far as can be known. Raise Away."""
        try:
            with self._app.connection_for_read() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0.1)
                try:
                    return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
                except (ChannelError, NotFound):
                    return 0  # there is none, or it is empty, which is the same to some brokers
        except Exception as error:
            raise _away(error) from error

    def close(self) -> None:
        with suppress(Exception):
            self._app.close()

    def _stored(self, backend: Any, ids: Sequence[str]) -> dict[str, Meta]:
        keys = [backend.get_key_for_task(message_id) for message_id in ids]
        at_once = type(backend).mget is not BaseKeyValueStoreBackend.mget
        raws = backend.mget(keys) if at_once else [backend.get(key) for key in keys]
        return {message_id: _decoded(raw) for message_id, raw in zip(ids, raws, strict=True) if raw}


def _decoded(raw: bytes | str) -> Meta:
    try:
        return msgspec.json.decode(raw, type=Meta)
    except msgspec.DecodeError as error:
        return Meta(status="UNREADABLE", result=msgspec.Raw(msgspec.json.encode(str(error))))


def _meta(said: Mapping[str, Any]) -> Meta:
    result = said.get("result")
    if isinstance(result, BaseException):
        result = {"exc_type": type(result).__name__, "exc_message": [str(result)]}
    try:
        text = str(dumps(result)).encode()  # type: ignore[no-untyped-call]
    except Exception as error:
        return Meta(status="UNREADABLE", result=msgspec.Raw(msgspec.json.encode(str(error))))
    return Meta(status=str(said.get("status")), result=msgspec.Raw(text), traceback=said.get("traceback"))


def _worker(name: str, said: Mapping[str, Any], queues: Iterable[Mapping[str, Any]]) -> Worker:
    pool = said.get("pool") or {}
    places = pool.get("max-concurrency") or 1
    return Worker(
        name=name,
        pid=int(said.get("pid") or 0),
        places=int(places) if isinstance(places, int) else 1,
        queues=tuple(str(queue.get("name")) for queue in queues),
        answers_always="solo" not in str(pool.get("implementation", "")),
    )


def _away(error: Exception) -> Away:
    return error if isinstance(error, Away) else Away(f"{type(error).__name__}: {error}")
