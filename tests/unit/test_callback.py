"""When a callback is tried again, what it tells, and when it would tell what is not true any more."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload.conformance.making import created
from offload.core.callback import (
    DAY_SECONDS,
    WAITS_SECONDS,
    Delivery,
    DeliveryState,
    Try,
    after_try,
    as_told,
    delivery_of,
    host_of,
    is_superseded,
    next_try_at,
    replayed,
)
from offload.core.task import Callback, Moment, Reason, Status, Task, TaskError
from offload.core.transitions import Event, Facts, decide

ALL_MOMENTS: tuple[Moment, ...] = ("started", "progress", "done", "failed", "canceled")
CALLBACK = Callback(url="https://a.example/hook", events=ALL_MOMENTS)


def running(callback: Callback | None = CALLBACK, now: float = 10.0) -> Task:
    queued = decide(created(callback=callback, created_at=1.0), Event.RUN, Facts(now=2.0)).after
    return decide(queued, Event.CLAIM, Facts(now=now, lease_until=now + 30, node="n")).after


def delivery(**changes: Any) -> Delivery:
    made = delivery_of(running(), CALLBACK, "started", 10.0)
    return msgspec.structs.replace(made, **changes)


def tried(status: int | None = 500, at: float = 100.0) -> Try:
    return Try(at=at, latency_seconds=2.0, status_code=status)


def test_the_schedule_is_the_one_that_is_documented() -> None:
    waits = [next_try_at(step, 0.0, chance=0.0) for step in range(11)]
    assert waits == [0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600, None]


@given(step=st.integers(0, 9), chance=st.floats(0, 1, exclude_max=True), asked=st.none() | st.floats(0, 1e7))
def test_a_try_is_never_early_and_little_late(step: int, chance: float, asked: float | None) -> None:
    due = next_try_at(step, 1000.0, chance=chance, retry_after_seconds=asked)
    assert due is not None
    least = max(WAITS_SECONDS[step], min(asked or 0.0, DAY_SECONDS))
    assert least - 1e-6 <= due - 1000.0 <= least * 1.1 + 1e-6


def test_ten_failures_give_a_delivery_up() -> None:
    found, states = delivery(), []
    for _ in range(10):
        found = after_try(found, tried(), chance=0.5)
        states.append(found.state)
    assert states == [DeliveryState.PENDING] * 9 + [DeliveryState.GIVEN_UP]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert after_try(delivery(), tried(status), chance=0.0).state is DeliveryState.DELIVERED


@pytest.mark.parametrize("status", [None, 100, 199, 301, 302, 307, 400, 401, 404, 429, 500, 503])
def test_everything_else_is_tried_again_after_the_answer(status: int | None) -> None:
    after = after_try(delivery(), tried(status), chance=0.0)
    assert (after.state, after.due_at, after.step) == (DeliveryState.PENDING, 107.0, 1)


def test_gone_stops() -> None:
    assert after_try(delivery(), tried(410), chance=0.0).state is DeliveryState.GIVEN_UP


def test_a_url_that_is_never_used_stops() -> None:
    assert after_try(delivery(), tried(None), chance=0.0, hopeless=True).state is DeliveryState.GIVEN_UP


def test_retry_after_is_obeyed_up_to_a_day() -> None:
    assert after_try(delivery(), tried(429), chance=0.0, retry_after_seconds=600.0).due_at == 702.0
    assert after_try(delivery(), tried(429), chance=0.0, retry_after_seconds=1.0).due_at == 107.0
    assert after_try(delivery(), tried(429), chance=0.0, retry_after_seconds=1e9).due_at == 102.0 + DAY_SECONDS


def test_a_replay_has_a_whole_schedule_and_leaves_alone_what_is_being_sent() -> None:
    given_up = delivery(state=DeliveryState.GIVEN_UP, step=10, tries=10)
    again = replayed(given_up, 500.0)
    assert (again.state, again.step, again.tries, again.due_at) == (DeliveryState.PENDING, 0, 10, 500.0)
    busy = delivery(lease_until=600.0)
    assert replayed(busy, 500.0) is busy


@pytest.mark.parametrize(
    ("event", "facts", "told"),
    [
        (Event.SUCCEED, {"result": b"1"}, "task.done"),
        (Event.FAIL, {"reason": Reason.ERROR, "error": TaskError(type="E", message="m")}, "task.failed"),
        (Event.CANCEL, {}, "task.canceled"),
        (Event.RETRY, {"run_at": 99.0}, None),
        (Event.RELEASE, {}, None),
        (Event.ASK_CANCEL, {}, None),
    ],
)
def test_an_end_makes_one_delivery_that_tells_the_new_state(
    event: Event, facts: dict[str, Any], told: str | None
) -> None:
    change = decide(running(), event, Facts(now=20.0, **facts))
    assert [each.type for each in change.deliveries] == ([] if told is None else [told])
    for each in change.deliveries:
        after = change.after
        assert each.told == msgspec.structs.replace(
            each.told, status=after.status, attempt=1, reason=after.reason, at=20.0
        )
        assert each.id == f"msg_{after.id.replace('-', '')}_{after.version}"
        assert not is_superseded(each, after)
    assert decide(running(None), event, Facts(now=20.0, **facts)).deliveries == ()
    assert not decide(running(Callback(url="https://a.example/", events=("started",))), event,
                      Facts(now=20.0, **facts)).deliveries  # fmt: skip


def test_the_same_change_makes_the_same_delivery() -> None:
    task = running()
    first, second = (decide(task, Event.SUCCEED, Facts(now=20.0, result=b"1")) for _ in range(2))
    assert first.deliveries == second.deliveries


def test_a_passed_deadline_is_told_as_a_failure() -> None:
    queued = decide(created(callback=CALLBACK, deadline_at=5.0), Event.RUN, Facts(now=2.0)).after
    (told,) = decide(queued, Event.EXPIRE, Facts(now=6.0)).deliveries
    assert (told.type, told.told.reason) == ("task.failed", Reason.DEADLINE)


def test_what_a_task_has_left_behind_is_not_told() -> None:
    task = running()
    started = delivery_of(task, CALLBACK, "started", 10.0)
    assert not is_superseded(started, task)
    retried = decide(task, Event.RETRY, Facts(now=20.0, run_at=20.0)).after
    assert is_superseded(started, retried)
    second = decide(retried, Event.CLAIM, Facts(now=21.0, lease_until=50.0)).after
    assert is_superseded(started, second)
    failed = decide(second, Event.FAIL, Facts(now=22.0, reason=Reason.ERROR))
    assert not is_superseded(failed.deliveries[0], failed.after)
    revived = decide(failed.after, Event.REVIVE, Facts(now=23.0)).after
    assert is_superseded(failed.deliveries[0], revived)


def test_a_deleted_task_is_told_in_the_state_in_which_it_ended() -> None:
    change = decide(running(), Event.SUCCEED, Facts(now=20.0, result=b"1"))
    deleted = decide(change.after, Event.DELETE, Facts(now=30.0)).after
    (told,) = change.deliveries
    assert not is_superseded(told, deleted)
    shown = as_told(told, deleted)
    assert (shown.status, shown.result) == (Status.DONE, None)
    assert as_told(told, change.after) is change.after
    assert is_superseded(delivery_of(running(), CALLBACK, "started", 10.0), deleted)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://A.example/x", "a.example:443"),
        ("https://a.example:443/y?z=1", "a.example:443"),
        ("http://a.example", "a.example:80"),
        ("http://[2001:db8::1]:8080/", "2001:db8::1:8080"),
    ],
)
def test_a_host_is_the_same_however_it_is_written(url: str, host: str) -> None:
    assert host_of(url) == host
