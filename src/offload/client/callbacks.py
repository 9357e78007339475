"""Callbacks, from the side of who asks about them: each call as a flow that a sync or an async driver runs."""

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from offload.client.calls import read
from offload.client.effects import Flow, Request
from offload.client.inputs import json_body
from offload.client.replies import Reply
from offload.client.retries import Rules, exchange


class CallbackTry(Reply, frozen=True, kw_only=True):
    """How one try to send a callback went."""

    at: datetime
    status_code: int | None = None
    """What the receiver answered; None when it did not, and then `error` says why."""
    error: str | None = None
    latency_seconds: float = 0.0
    answer: str = ""
    """The first 1 KiB of what the receiver said."""


class SentCallback(Reply, frozen=True, kw_only=True):
    """One callback that was sent, or will be."""

    id: str
    """The `webhook-id`, the same in every try."""
    task: str
    type: str
    url: str
    state: str
    """PENDING, DELIVERED or GIVEN_UP."""
    body: str = "event"
    tries: int = 0
    created_at: datetime | None = None
    due_at: datetime | None = None
    last: CallbackTry | None = None


class PreviousSecret(Reply, frozen=True, kw_only=True):
    secret: str
    valid_until: datetime


class CallbackSecret(Reply, frozen=True, kw_only=True):
    """What signs your callbacks; the one before signs them too until its time is over."""

    secret: str
    previous: tuple[PreviousSecret, ...] = ()


class CallbackPage(Reply, frozen=True, kw_only=True):
    callbacks: list[SentCallback]
    next: str | None = None


def callbacks_query(task_id: str | None, state: str | None) -> dict[str, str]:
    given = {"task": task_id, "state": state}
    return {**{name: text for name, text in given.items() if text}, "limit": "100"}


def page(rules: Rules, query: Mapping[str, str]) -> Flow[CallbackPage]:
    """Return one page of callbacks, newest first."""
    return read((yield from exchange(rules, Request(method="GET", path="/v1/callbacks", query=query))), CallbackPage)


def replay(rules: Rules, callback_id: str) -> Flow[SentCallback]:
    path = f"/v1/callbacks/{quote(callback_id, safe='')}/replay"
    return read((yield from exchange(rules, Request(method="POST", path=path))), SentCallback)


def test(rules: Rules, url: str) -> Flow[CallbackTry]:
    body = json_body("callback", {"url": url})
    return read((yield from exchange(rules, Request(method="POST", path="/v1/callbacks/test", body=body))), CallbackTry)


def secret(rules: Rules, *, rotate: bool) -> Flow[CallbackSecret]:
    path = "/v1/callbacks/secret"
    request = Request(method="POST", path=f"{path}/rotate") if rotate else Request(method="GET", path=path)
    return read((yield from exchange(rules, request)), CallbackSecret)
