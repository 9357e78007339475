"""When to ask again: exponential backoff with full jitter, never sooner than the server said, nor past the limit."""

from collections.abc import Callable
from dataclasses import dataclass

from offload.client.effects import Answer, Flow, Request, Send, Sleep, Unreachable
from offload.client.errors import ServerUnreachable, error_from, retry_after
from offload.core.errors import OffloadError

RETRIED = frozenset({429, 502, 503, 504, 507})
"""Nothing is wrong with the request; it could not be taken at that moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How patient a client is; the clock and the chance are handed in."""

    url: str
    clock: Callable[[], float]
    chance: Callable[[], float]
    """A number in [0, 1)."""
    new_key: Callable[[], str]
    timeout_seconds: float = 30.0
    retries: int = 8
    first_seconds: float = 0.2
    most_seconds: float = 10.0
    hold_seconds: float = 20.0
    """How long one request asks the server to hold its answer."""


def backoff_seconds(rules: Rules, attempt: int, asked_seconds: float | None) -> float:
    """Return the pause after the failed `attempt` (from 1): what the server asked for, then a jitter that grows."""
    reach = min(rules.first_seconds * 2.0 ** min(attempt - 1, 32), rules.most_seconds)
    return (asked_seconds or 0.0) + rules.chance() * reach


@dataclass(slots=True)
class Tries:
    """How an exchange went; read by callers that must know whether an earlier try may have been heard."""

    count: int = 0
    maybe_heard: bool = False


def exchange(rules: Rules, request: Request, tries: Tries | None = None) -> Flow[Answer]:
    """Return a good answer; ask again while that can help, else raise what the server said or ServerUnreachable."""
    tries = tries or Tries()
    deadline = rules.clock() + rules.timeout_seconds + request.hold_seconds
    while True:
        tries.count += 1
        asked_seconds: float | None = None
        error: OffloadError
        try:
            answer: Answer = yield _send(rules, request, deadline)
            if answer.status < 400:
                return answer
            error = error_from(answer.status, answer.headers, answer.body)
            if answer.status not in RETRIED:
                raise error
            asked_seconds = retry_after(answer.headers)
        except Unreachable as broken:
            tries.maybe_heard = tries.maybe_heard or not broken.nothing_sent
            error = ServerUnreachable(f"{rules.url}: {broken}")
            error.__cause__ = broken.__cause__
        pause = backoff_seconds(rules, tries.count, asked_seconds)
        repeatable = request.body is None or request.body.repeatable
        if tries.count > rules.retries or not repeatable or rules.clock() + pause >= deadline:
            raise error
        yield Sleep(pause)


def _send(rules: Rules, request: Request, deadline: float) -> Send:
    moves_files = request.streams or (request.body is not None and request.body.stream is not None)
    return Send(
        request=request,
        idle_seconds=rules.timeout_seconds + request.hold_seconds,
        deadline=None if moves_files else deadline,  # how long a file takes is not known: only standing still is wrong
    )
