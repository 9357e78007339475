"""Schedules, from the side of who keeps them: blocking and async, each over the same flows."""

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, Protocol, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import msgspec

from offload.client.calls import read
from offload.client.effects import Flow, Request
from offload.client.inputs import json_body
from offload.client.replies import Reply
from offload.client.retries import Rules, exchange

T = TypeVar("T")


class Run(Protocol):
    """Runs a flow to its end."""

    def __call__(self, flow: Flow[T]) -> T: ...


class AsyncRun(Protocol):
    async def __call__(self, flow: Flow[T]) -> T: ...


class LastFiring(Reply, frozen=True, kw_only=True):
    """The last due time that made a task."""

    due_at: datetime
    task: str
    status: str | None = None
    """None when nothing is left of the task."""


class RemoteSchedule(Reply, frozen=True, kw_only=True):
    """A schedule as it was when the server was asked."""

    name: str
    job: str
    owner: str = ""
    input: dict[str, Any] = {}
    cron: str | None = None
    every: float | None = None
    """Seconds."""
    timezone: str | None = None
    catch_up: str = "last"
    priority: int | None = None
    tags: dict[str, str] = {}
    callback: dict[str, Any] | None = None
    deadline: float | None = None
    paused: bool = False
    declared: bool = False
    """It stands in the code of its job and is changed there."""
    created_at: datetime | None = None
    changed_at: datetime | None = None
    next: tuple[datetime, ...] = ()
    """The next due times; none while it is paused."""
    last: LastFiring | None = None
    fired: int = 0
    missed: int = 0
    trouble: str | None = None
    """Why nothing comes of it on the server that was asked."""


class Recurring(TypedDict, total=False):
    """When a schedule is due and how its tasks are run."""

    cron: str | None
    """Minute, hour, day of month, month, day of week."""
    every: float | str | None
    """Seconds, or text such as `5m`; instead of `cron`."""
    timezone: str | None
    """Of `cron`; `UTC` if left out."""
    catch_up: Literal["skip", "last", "all"]
    """Which due times that passed unnoticed still make tasks; `last` if left out."""
    priority: int | None
    tags: Mapping[str, str]
    callback: str | Mapping[str, Any] | None
    deadline: float | None
    """Seconds within which each task must start."""
    paused: bool


class _Page(msgspec.Struct):
    schedules: list[RemoteSchedule]
    next: str | None = None


class Schedules:
    """`client.schedules`: what recurs on a server."""

    def __init__(self, rules: Rules, run: Run) -> None:
        self._rules = rules
        self._run = run

    def list(self) -> Iterator[RemoteSchedule]:
        """Yield your schedules by name; an admin's key sees everybody's."""
        query: dict[str, str] = {}
        while True:
            page = self._run(_page(self._rules, query))
            yield from page.schedules
            if page.next is None:
                return
            query["cursor"] = page.next

    def get(self, name: str) -> RemoteSchedule:
        """Raise ScheduleDoesNotExist."""
        return self._run(_get(self._rules, name))

    def put(
        self, name: str, job: str, input: Mapping[str, Any] | None = None, **when: Unpack[Recurring]
    ) -> RemoteSchedule:
        """Make a schedule, or change all of it: `cron=` or `every=`. Raise WrongSchedule, ScheduleIsDeclared."""
        return self._run(_put(self._rules, name, job, input, when))

    def pause(self, name: str) -> RemoteSchedule:
        """Make no more tasks until `resume`; what would be due meanwhile never is."""
        return self._run(_set_paused(self._rules, name, True))

    def resume(self, name: str) -> RemoteSchedule:
        return self._run(_set_paused(self._rules, name, False))

    def delete(self, name: str) -> None:
        """Forget a schedule; its tasks stay. Raise ScheduleDoesNotExist, ScheduleIsDeclared."""
        self._run(_delete(self._rules, name))


class AsyncSchedules:
    """`client.schedules` of an AsyncClient."""

    def __init__(self, rules: Rules, run: AsyncRun) -> None:
        self._rules = rules
        self._run = run

    async def list(self) -> AsyncIterator[RemoteSchedule]:
        """Yield your schedules by name; an admin's key sees everybody's."""
        query: dict[str, str] = {}
        while True:
            page = await self._run(_page(self._rules, query))
            for each in page.schedules:
                yield each
            if page.next is None:
                return
            query["cursor"] = page.next

    async def get(self, name: str) -> RemoteSchedule:
        """Raise ScheduleDoesNotExist."""
        return await self._run(_get(self._rules, name))

    async def put(
        self, name: str, job: str, input: Mapping[str, Any] | None = None, **when: Unpack[Recurring]
    ) -> RemoteSchedule:
        """Make a schedule, or change all of it: `cron=` or `every=`. Raise WrongSchedule, ScheduleIsDeclared."""
        return await self._run(_put(self._rules, name, job, input, when))

    async def pause(self, name: str) -> RemoteSchedule:
        """Make no more tasks until `resume`; what would be due meanwhile never is."""
        return await self._run(_set_paused(self._rules, name, True))

    async def resume(self, name: str) -> RemoteSchedule:
        return await self._run(_set_paused(self._rules, name, False))

    async def delete(self, name: str) -> None:
        """Forget a schedule; its tasks stay. Raise ScheduleDoesNotExist, ScheduleIsDeclared."""
        await self._run(_delete(self._rules, name))


def _page(rules: Rules, query: Mapping[str, str]) -> Flow[_Page]:
    return read((yield from exchange(rules, Request(method="GET", path="/v1/schedules", query=query))), _Page)


def _get(rules: Rules, name: str) -> Flow[RemoteSchedule]:
    return read((yield from exchange(rules, Request(method="GET", path=_path(name)))), RemoteSchedule)


def _put(
    rules: Rules, name: str, job: str, input: Mapping[str, Any] | None, when: Mapping[str, Any]
) -> Flow[RemoteSchedule]:
    wish = {"job": job, "input": input or {}, **{field: value for field, value in when.items() if value is not None}}
    request = Request(method="PUT", path=_path(name), body=json_body(job, wish))
    return read((yield from exchange(rules, request)), RemoteSchedule)


def _set_paused(rules: Rules, name: str, paused: bool) -> Flow[RemoteSchedule]:
    """Send back what the server says of it, but for this; what a newer server says besides is sent back too."""
    found = msgspec.json.decode((yield from exchange(rules, Request(method="GET", path=_path(name)))).body)
    wish = {**found, "paused": paused}
    request = Request(method="PUT", path=_path(name), body=json_body(name, wish))
    return read((yield from exchange(rules, request)), RemoteSchedule)


def _delete(rules: Rules, name: str) -> Flow[None]:
    yield from exchange(rules, Request(method="DELETE", path=_path(name)))


def _path(name: str) -> str:
    return f"/v1/schedules/{quote(name, safe='')}"
