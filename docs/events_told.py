"""The reference of events: every kind with its fields and an example, made by the code that tells them."""

import json
import re
import typing

import msgspec

from offload.core import transitions
from offload.core.callback import delivery_of
from offload.core.outcome import Failed
from offload.core.retry import Retry
from offload.core.task import Callback, FileRef, Moment, Progress, Reason, Status, Task, TaskError, TaskEvent
from offload.core.transitions import Event, Facts
from offload.engine.ledger import _progress_event
from offload.engine.views import View
from offload.http.events import event_text
from offload.http.openapi_callbacks import WEBHOOKS
from offload.http.openapi_overview import HISTORY, OVERVIEW
from offload.http.overview import get_overview_events
from offload.http.present import task_json
from offload.http.telling import TEST_EVENT, event_json

NINE = 1_795_251_600.0  # 2026-11-21T09:00:00Z
KINDS = {
    "status": "the task came into another state, or was asked to stop",
    "progress": "the job said how far it is; at most five a second, the newest wins",
    "log": "the attempt printed or logged something, one or several lines",
    "output": "a generator job yielded this",
}
FIELDS = {
    "status": "where the task is now",
    "attempt": "which attempt it is in, or was in last; 0 before the first",
    "reason": "why it is FAILED or CANCELED",
    "cancel_requested": "true: it runs, and was asked to stop",
    "run_at": "when: it does not start before, because of a delay or the pause before the next attempt",
    "error": "type and message of what went wrong, when it FAILED or is to be tried again",
    "node": "the node that runs it, or ran it last",
    "at": "when",
    "fraction": "0 to 1, or null",
    "message": "a few words, or none",
}


def kinds() -> list[list[str]]:
    """Return a row for each kind of event that a task can have."""
    known = typing.get_args(typing.get_type_hints(TaskEvent)["kind"])
    assert set(known) == set(KINDS), "a kind of event has no words in docs/events_told.py"
    plain = {"log": "a text", "output": "any JSON"}
    data = {kind: plain.get(kind) or ", ".join(f"`{name}`" for name in _names(kind)) for kind in known}
    return [[f"`{kind}`", KINDS[kind], data[kind]] for kind in known]


def fields() -> list[list[str]]:
    """Return a row for each field of the data of `status` and `progress`."""
    found: dict[str, list[str]] = {}
    for kind in ("status", "progress"):
        for name in _names(kind):
            found.setdefault(name, []).append(f"`{kind}`")
    assert set(found) == set(FIELDS), f"no words in docs/events_told.py for {set(found) ^ set(FIELDS)}"
    return [[f"`{name}`", ", ".join(of), FIELDS[name]] for name, of in found.items()]


def example() -> str:
    """Return the stream of a task that fails once, is tried again, and is done."""
    texts = (event_text(msgspec.structs.replace(event, n=n)).decode() for n, event in enumerate(_life(), 1))
    return "retry: 1000\n\n" + "".join(texts).rstrip()


def overview() -> list[list[str]]:
    """Return a row for each event of a node's stream, with the fields of its data."""
    shapes = {
        "overview": ("when something moved, looked up once a second", OVERVIEW["properties"]),
        "history": ("every ten seconds", HISTORY["properties"]),
        "callbacks": ("when lists of callbacks moved; `tasks` says whose, null for anybody's", ["tasks"]),
    }
    told = set(re.findall(r"`(\w+)`", get_overview_events.__doc__ or ""))
    assert told == set(shapes), f"docs/events_told.py knows {set(shapes)}, the code tells {told}"
    return [
        [f"`{name}`", when, ", ".join(f"`{field}`" for field in names if field != "history")]
        for name, (when, names) in shapes.items()
    ]


def callbacks() -> list[list[str]]:
    """Return a row for each type of callback, and when it is sent."""
    rows = [
        [f"`task.{moment}`", WEBHOOKS[f"task.{moment}"]["post"]["summary"].removeprefix("Tell that ")]
        for moment in typing.get_args(Moment)
    ]
    return [*rows, [f"`{TEST_EVENT}`", "somebody tries a URL: `POST /v1/callbacks/test`"]]


def callback_example() -> str:
    """Return the body of a callback that tells of a task that is done."""
    task = _task(callback=Callback(url="https://example.com/hook"))
    running = transitions.decide(task, Event.CLAIM, _facts(1)).after
    done = transitions.decide(running, Event.SUCCEED, _facts(3, result=b"42")).after
    assert done.callback is not None
    told = delivery_of(done, done.callback, "done", NINE + 3)
    body = json.loads(event_json(told.type, told.told.at, task_json(View(task=done), 65_536)))
    return json.dumps(body, indent=1, ensure_ascii=False)


def task_example() -> str:
    """Return a task that waits for its second attempt, as a client reads it."""
    file = FileRef(blob="", name="cat.jpg", type="image/jpeg", size=48_213, field="image")
    task = _task(
        job="resize", queue="images", attempt=1, files=(file,), tags={"customer": "42"},
        input=b'{"width":320,"image":null}', error=TaskError(type="OSError", message="the disk is busy"),
    )  # fmt: skip
    shown = json.loads(task_json(View(task=task, position=7, eta_seconds=41.5), 65_536))
    return json.dumps(shown, indent=1, ensure_ascii=False)


def _life() -> list[TaskEvent]:
    task = _task()
    claimed = transitions.decide(task, Event.CLAIM, _facts(1))
    failed = Failed(reason=Reason.ERROR, error=TaskError(type="OSError", message="the other side hung up"))
    retried = transitions.after_failure(claimed.after, failed, Retry(), _facts(2), chance=0.0)
    again = transitions.decide(retried.after, Event.CLAIM, _facts(3))
    done = transitions.decide(again.after, Event.SUCCEED, _facts(5, result=b"[1]"))
    told = {"data": b'"page 2 has no text\\n"', "at": NINE + 4, "attempt": 2}
    return [
        transitions.status_event(task, NINE),
        *claimed.events,
        *retried.events,
        *again.events,
        _progress_event(Progress(fraction=0.5, message="page 2 of 4"), again.after, NINE + 4),
        TaskEvent(kind="log", **told),
        TaskEvent(kind="output", **{**told, "data": b'{"page":1,"words":212}'}),
        *done.events,
    ]


def _names(kind: str) -> list[str]:
    """Return the fields that the data of a kind can have, in their order, by making each case."""
    cases = [*_life()]
    running = transitions.decide(_task(), Event.CLAIM, _facts(1)).after
    cases += transitions.decide(running, Event.ASK_CANCEL, _facts(2)).events
    cases += transitions.decide(_task(), Event.CANCEL, _facts(2, reason=Reason.CANCELED)).events
    names: dict[str, None] = {}
    for case in cases:
        shown = event_text(case).decode().partition("data: ")[2]
        if case.kind == kind and isinstance(data := json.loads(shown), dict) and kind != "output":
            names.update(dict.fromkeys(data))
    return sorted(names, key=lambda name: [*FIELDS, name].index(name))


def _facts(seconds: float, **more: typing.Any) -> Facts:
    return Facts(now=NINE + seconds, lease_until=NINE + 60, node="web-1:4711:9f2c", keep_seconds=604_800.0, **more)


def _task(**more: typing.Any) -> Task:
    usual = {
        "id": "8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34", "job": "read_pages", "queue": "default", "status": Status.QUEUED,
        "created_at": NINE, "queued_at": NINE, "run_at": NINE, "input": b'{"pages":4}',
    }  # fmt: skip
    return Task(**{**usual, **more})
