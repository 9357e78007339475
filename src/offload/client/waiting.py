"""Waiting for a task: long polls in slices, and its result at the end."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from offload.client.calls import Order, created_id, prefer, read, submit
from offload.client.effects import Answer, Drain, Flow, Request, Sleep, Tell, Unreachable
from offload.client.errors import RemoteError, ServerUnreachable, WaitTimeout, retry_after
from offload.client.replies import TaskState
from offload.client.retries import Rules, backoff_seconds, exchange
from offload.core.errors import TaskIsNotFinal

Listener = Callable[[TaskState], Any]
REPORT_SECONDS = 1.0
"""How often a listener hears of progress: the length of a slice when there is one."""
LARGE_JSON_NAME = "result.json"
"""What a server calls a JSON result that was too large to be kept in the task's row."""
SMALL_FILE_BYTES = 1024**2
"""A file result up to this size is kept from the answer that told of it; a larger one is asked for when it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A result that is a file."""

    task_id: str
    name: str
    """As the server says it; never a path."""
    type: str
    size: int | None
    data: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundJson:
    value: Any


Found = FoundFile | FoundJson
F = TypeVar("F")


def state(rules: Rules, task_id: str) -> Flow[TaskState]:
    answer = yield from poll(rules, task_id, 0.0)
    return read(answer, TaskState)


def wait(
    rules: Rules, task_id: str, timeout_seconds: float | None, listener: Listener | None = None
) -> Flow[TaskState]:
    """Wait until a task has ended. Raise WaitTimeout after `timeout_seconds`."""
    began, seen = rules.clock(), None
    while True:
        left = None if timeout_seconds is None else max(0.0, began + timeout_seconds - rules.clock())
        slice_seconds = REPORT_SECONDS if listener is not None else rules.hold_seconds
        slice_seconds = slice_seconds if left is None else min(slice_seconds, left)
        asked_at = rules.clock()
        answer = yield from poll(rules, task_id, slice_seconds)
        now = read(answer, TaskState)
        if listener is not None and now != seen:
            seen = now
            yield Tell(listener, now)
        if now.final:
            return now
        left = None if timeout_seconds is None else began + timeout_seconds - rules.clock()
        if left is not None and left <= 0:
            raise WaitTimeout(task_id, now.status, timeout_seconds or 0.0)
        if rules.clock() - asked_at < slice_seconds * 0.8:
            # the server did not hold the answer as long as it was asked to: then this is polling
            pause = float(retry_after(answer.headers) or 1)
            yield Sleep(pause if left is None else min(pause, left))


def call(rules: Rules, order: Order, wait_seconds: float | None, listener: Listener | None) -> Flow[Found]:
    """Submit, wait and return the result."""
    began = rules.clock()
    slice_seconds = REPORT_SECONDS if listener is not None else rules.hold_seconds
    hold_seconds = slice_seconds if wait_seconds is None else min(slice_seconds, wait_seconds)
    answer = yield from submit(rules, msgspec.structs.replace(order, hold_seconds=hold_seconds))
    task_id = created_id(answer)
    if answer.status == 200:
        try:
            return (yield from _found(task_id, answer))
        except Unreachable:  # it broke off while it was read: from here on the task's id is enough
            return (yield from result(rules, task_id))
    left = None if wait_seconds is None else max(0.0, wait_seconds - (rules.clock() - began))
    yield from wait(rules, task_id, left, listener)
    return (yield from result(rules, task_id))


def result(rules: Rules, task_id: str) -> Flow[Found]:
    """Return the result of a task that is DONE. Raise TaskIsNotFinal, TaskFailed, TaskIsCanceled, ResultExpired."""
    return (yield from _read_result(rules, task_id, _found))


def head(rules: Rules, task_id: str) -> Flow[FoundFile]:
    """Return the result of a task that is DONE as a file, even when it is JSON."""
    return (yield from _read_result(rules, task_id, _found_file))


def _read_result(rules: Rules, task_id: str, found: Callable[[str, Answer], Flow[F]]) -> Flow[F]:
    failures = 0
    while True:
        request = Request(method="GET", path=f"/v1/tasks/{quote(task_id, safe='')}/result", streams=True)
        answer = yield from exchange(rules, request)
        if answer.status == 202:
            raise TaskIsNotFinal(f"task {task_id} has no result yet: it has not ended")
        try:
            return (yield from found(task_id, answer))
        except Unreachable as broken:
            failures += 1
            if failures > rules.retries:
                raise ServerUnreachable(f"{rules.url}: {broken}") from broken
            yield Sleep(backoff_seconds(rules, failures, None))


def safe_file_name(name: str, fallback: str) -> str:
    """Return a name that is only a name, whatever the server said: no directory, no control character, not hidden."""
    bare = re.sub(
        r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", "", name.replace("\\", "/").rpartition("/")[2]
    )
    bare = bare.strip().lstrip(".")
    return bare[-200:] or fallback


def poll(rules: Rules, task_id: str, hold_seconds: float) -> Flow[Answer]:
    request = Request(
        method="GET",
        path=f"/v1/tasks/{quote(task_id, safe='')}/status",
        headers=prefer(hold_seconds),
        hold_seconds=hold_seconds,
    )
    return (yield from exchange(rules, request))


def _found(task_id: str, answer: Answer) -> Flow[Found]:
    told = _file_name(answer.headers.get("content-disposition", ""))
    if _media_type(answer) != "application/json" or told not in ("", LARGE_JSON_NAME):
        return (yield from _found_file(task_id, answer))
    body: bytes = yield Drain(answer.stream)
    try:
        return FoundJson(value=msgspec.json.decode(body))
    except msgspec.DecodeError as error:
        raise RemoteError(f"the result is no JSON: {error}", status=answer.status) from None


def _found_file(task_id: str, answer: Answer) -> Flow[FoundFile]:
    length = answer.headers.get("content-length", "")
    size = int(length) if length.isdigit() else None
    data = None
    if size is not None and size <= SMALL_FILE_BYTES:
        data = yield Drain(answer.stream)
    kind = _media_type(answer)
    fallback = f"result-{task_id[:8]}" + (".json" if kind == "application/json" else "")
    name = safe_file_name(_file_name(answer.headers.get("content-disposition", "")), fallback)
    return FoundFile(task_id=task_id, name=name, type=kind or "application/octet-stream", size=size, data=data)


def _media_type(answer: Answer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _file_name(disposition: str) -> str:
    message = Message()
    message["Content-Disposition"] = disposition
    return message.get_filename() or "" if disposition else ""
