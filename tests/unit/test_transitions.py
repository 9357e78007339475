"""Every state meets every event, and what a failure means is decided in one place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload.core.errors import TransitionRefused
from offload.core.outcome import Failed
from offload.core.retry import Retry
from offload.core.task import FileRef, Progress, Reason, Status, Task, TaskError, TaskEvent
from offload.core.transitions import (
    LOSSES_MAX,
    TABLE,
    Change,
    Event,
    Facts,
    after_failure,
    allowed,
    decide,
    difference,
    status_event,
)

NOW = 1000.0
ERROR = TaskError(type="ValueError", message="bad", traceback="Traceback …")
CALM = Retry(jitter=False)

# The same table as in transitions.py, written by hand a second time: a slip in one of them shows.
EXPECTED = {
    "CREATED": {"run": "QUEUED", "cancel": "CANCELED", "delete": "DELETED"},
    "QUEUED": {"claim": "RUNNING", "cancel": "CANCELED", "expire": "FAILED"},
    "RUNNING": {
        "release": "QUEUED",
        "succeed": "DONE",
        "retry": "QUEUED",
        "fail": "FAILED",
        "ask_cancel": "RUNNING",
        "cancel": "CANCELED",
    },
    "DONE": {"delete": "DELETED"},
    "FAILED": {"revive": "QUEUED", "delete": "DELETED"},
    "CANCELED": {"revive": "QUEUED", "delete": "DELETED"},
    "DELETED": {},
}
EVERY_PAIR = [(status, event) for status in Status for event in Event]


def task_in(status: Status, **fields: Any) -> Task:
    """Return a task as it would be in a state, with traces of an earlier life."""
    running = {"lease_until": NOW + 30, "node": "n1", "started_at": NOW - 5} if status is Status.RUNNING else {}
    ended = {"finished_at": NOW - 1} if status in (Status.DONE, Status.FAILED, Status.CANCELED) else {}
    reasons = {Status.FAILED: Reason.ERROR, Status.CANCELED: Reason.CANCELED}
    attempt = 0 if status in (Status.CREATED, Status.QUEUED) else 1
    given = {"id": "t1", "job": "resize", "queue": "images", "created_at": NOW - 60, "run_at": NOW - 50}
    made = {"attempt": attempt, "reason": reasons.get(status), "version": 7, "input": b'{"a":1}'}
    return Task(status=status, **{**given, **made, **running, **ended, **fields})


def facts(**given: Any) -> Facts:
    known = {
        "now": NOW,
        "run_at": NOW + 9,
        "lease_until": NOW + 30,
        "node": "n2",
        "reason": Reason.ERROR,
        "error": ERROR,
    }
    return Facts(**{**known, **given})


@pytest.mark.parametrize(("status", "event"), EVERY_PAIR)
def test_every_event_in_every_state_does_what_the_table_says_or_is_refused(status: Status, event: Event) -> None:
    before = task_in(status)
    wanted = EXPECTED[status].get(event)
    assert allowed(status, event) == (wanted is not None)
    if wanted is None:
        with pytest.raises(TransitionRefused) as refused:
            decide(before, event, facts())
        assert (refused.value.status, refused.value.event) == (status, event)
        assert "t1" in str(refused.value)
        return
    change = decide(before, event, facts())
    assert change.before is before
    assert change.after.status == wanted
    assert change.after.version == before.version + 1
    assert change.after.id == before.id and change.after.job == before.job and change.after.key == before.key
    assert json.loads(change.events[-1].data)["status"] == wanted
    assert change.events[-1].kind == "status" and change.events[-1].at == NOW


def test_the_table_has_nothing_else() -> None:
    assert {(str(s), str(e)): str(t) for (s, e), t in TABLE.items()} == {
        (status, event): to for status, row in EXPECTED.items() for event, to in row.items()
    }


def test_deciding_leaves_the_task_as_it_was() -> None:
    for status, event in TABLE:
        before, copy = task_in(status), task_in(status)
        decide(before, event, facts())
        assert before == copy


def test_run_puts_the_task_in_line_now_but_not_before_its_own_time() -> None:
    now = decide(task_in(Status.CREATED, run_at=None), Event.RUN, facts()).after
    assert (now.queued_at, now.run_at) == (NOW, NOW)
    later = decide(task_in(Status.CREATED, run_at=NOW + 60), Event.RUN, facts()).after
    assert (later.queued_at, later.run_at) == (NOW, NOW + 60)


def test_a_claim_starts_the_next_attempt_under_a_lease() -> None:
    after = decide(task_in(Status.QUEUED, attempt=1, progress=Progress(fraction=0.5)), Event.CLAIM, facts()).after
    assert (after.attempt, after.started_at, after.lease_until, after.node) == (2, NOW, NOW + 30, "n2")
    assert after.progress is None


def test_a_release_gives_the_task_back_as_if_it_had_not_been_claimed() -> None:
    queued = task_in(Status.QUEUED, attempt=1)
    claimed = decide(queued, Event.CLAIM, facts()).after
    back = decide(claimed, Event.RELEASE, facts()).after
    assert (back.attempt, back.run_at, back.lease_until, back.node) == (queued.attempt, queued.run_at, None, None)
    assert back.rank == queued.rank  # the same place in line
    assert back.started_at is None


def test_success_keeps_the_result_and_forgets_an_earlier_error() -> None:
    file = FileRef(blob="b", name="a.png", type="image/png", size=3)
    change = decide(
        task_in(Status.RUNNING, error=ERROR), Event.SUCCEED, facts(result=b"1", result_file=file, keep_seconds=60)
    )
    after = change.after
    assert (after.result, after.result_file, after.error, after.reason) == (b"1", file, None, None)
    assert (after.finished_at, after.expires_at, after.lease_until) == (NOW, NOW + 60, None)


def test_without_a_time_to_keep_a_result_does_not_expire() -> None:
    assert decide(task_in(Status.RUNNING), Event.SUCCEED, facts()).after.expires_at is None


def test_asking_to_cancel_only_raises_a_flag() -> None:
    change = decide(task_in(Status.RUNNING), Event.ASK_CANCEL, facts())
    assert change.after.cancel_requested and change.after.lease_until == NOW + 30
    assert json.loads(change.events[-1].data)["cancel_requested"] is True


def test_every_end_takes_the_flag_and_the_lease_away() -> None:
    for event in (Event.SUCCEED, Event.FAIL, Event.CANCEL):
        after = decide(task_in(Status.RUNNING, cancel_requested=True), event, facts()).after
        assert (after.cancel_requested, after.lease_until, after.finished_at) == (False, None, NOW)


def test_the_reason_tells_why_a_task_ended() -> None:
    assert decide(task_in(Status.QUEUED), Event.EXPIRE, facts()).after.reason is Reason.DEADLINE
    assert decide(task_in(Status.QUEUED), Event.CANCEL, facts()).after.reason is Reason.CANCELED
    assert decide(task_in(Status.RUNNING), Event.FAIL, facts(reason=Reason.TIMEOUT)).after.reason is Reason.TIMEOUT


def test_a_revived_task_is_new_but_for_its_attempts() -> None:
    ended = task_in(
        Status.FAILED, attempt=3, max_attempts=3, losses=3, error=ERROR, deadline_at=NOW - 9, expires_at=NOW + 9
    )
    after = decide(ended, Event.REVIVE, facts()).after
    assert (after.attempt, after.max_attempts, after.losses) == (3, 4, 0)
    assert (after.reason, after.error, after.finished_at, after.expires_at, after.deadline_at) == (None,) * 5
    assert (after.queued_at, after.run_at) == (NOW, NOW)


def test_deleting_leaves_nothing_of_what_the_client_gave_or_got() -> None:
    file = FileRef(blob="b", name="secret.png", type="image/png", size=3)
    full = task_in(Status.DONE, files=(file,), result=b'"secret"', result_file=file, tags={"who": "secret"})
    after = decide(full, Event.DELETE, facts()).after
    assert after.payload_dropped and after.finished_at == full.finished_at
    assert (after.input, after.files, after.result, after.result_file, after.tags) == (b"{}", (), None, None, {})


def test_last_words_are_kept_before_the_status() -> None:
    word = TaskEvent(kind="log", at=NOW, attempt=1, data=b'"bye"')
    assert decide(task_in(Status.RUNNING), Event.SUCCEED, facts(log=(word,))).events[0] is word


def test_a_status_event_tells_when_the_next_attempt_comes_and_why() -> None:
    waiting = task_in(Status.QUEUED, run_at=NOW + 5, error=ERROR, attempt=1)
    told = json.loads(status_event(waiting, NOW).data)
    assert told["run_at"] == NOW + 5
    assert told["error"] == {"type": "ValueError", "message": "bad"}  # never the traceback
    assert "run_at" not in json.loads(status_event(task_in(Status.QUEUED), NOW).data)


@pytest.mark.parametrize(("status", "event"), sorted(TABLE))
def test_a_difference_is_all_that_a_store_must_write(status: Status, event: Event) -> None:
    change = decide(task_in(status), event, facts())
    found = difference(change)
    for name in Task.__struct_fields__:
        if name not in found:
            assert getattr(change.after, name) == getattr(change.before, name), name
        else:
            assert found[name] == getattr(change.after, name)
    assert found["version"] == change.before.version + 1
    assert "key" not in found and "event_count" not in found


def test_a_difference_holds_only_what_changed() -> None:
    change = decide(task_in(Status.QUEUED), Event.CANCEL, facts())
    assert set(difference(change)) == {"status", "version", "reason", "finished_at"}


def failed(**given: Any) -> Failed:
    return Failed(**{"reason": Reason.ERROR, "error": ERROR, **given})


def after(task: Task, failure: Failed, *, retry: Retry = CALM, chance: float = 0.0) -> Change:
    return after_failure(task, failure, retry, Facts(now=NOW, keep_seconds=60.0), chance=chance)


def test_a_failed_attempt_is_tried_again_after_a_growing_delay() -> None:
    for attempt, delay_seconds in ((1, 1.0), (2, 2.0), (3, 4.0)):
        change = after(task_in(Status.RUNNING, attempt=attempt, max_attempts=9), failed())
        assert (change.after.status, change.after.run_at) == (Status.QUEUED, NOW + delay_seconds)
        assert change.after.error == ERROR


def test_the_last_attempt_ends_it_with_its_reason() -> None:
    change = after(task_in(Status.RUNNING, attempt=3, max_attempts=3), failed(reason=Reason.TIMEOUT))
    assert (change.after.status, change.after.reason) == (Status.FAILED, Reason.TIMEOUT)
    assert (change.after.error, change.after.expires_at) == (ERROR, NOW + 60)


def test_a_rejected_input_is_not_tried_again() -> None:
    change = after(task_in(Status.RUNNING), failed(reason=Reason.REJECTED, retry=False))
    assert (change.after.status, change.after.reason) == (Status.FAILED, Reason.REJECTED)


def test_a_job_may_say_itself_when_to_try_again() -> None:
    change = after(task_in(Status.RUNNING), failed(retry_after_seconds=77.0))
    assert change.after.run_at == NOW + 77
    last = task_in(Status.RUNNING, attempt=3, max_attempts=3)
    assert after(last, failed(retry_after_seconds=77.0)).after.status is Status.FAILED


def test_a_lost_worker_sends_the_task_back_to_its_old_place_in_line() -> None:
    running = task_in(Status.RUNNING)
    change = after(running, failed(reason=Reason.WORKER_LOST, worker_died=True))
    assert (change.after.status, change.after.run_at, change.after.losses) == (Status.QUEUED, running.run_at, 1)


def test_a_task_that_takes_too_many_workers_down_is_poison() -> None:
    running = task_in(Status.RUNNING, losses=LOSSES_MAX - 1, max_attempts=99)
    change = after(running, failed(reason=Reason.WORKER_LOST, worker_died=True))
    assert (change.after.status, change.after.reason) == (Status.FAILED, Reason.POISON)
    assert change.after.losses == LOSSES_MAX


def test_losses_do_not_make_a_plain_error_poison() -> None:
    running = task_in(Status.RUNNING, losses=LOSSES_MAX - 1, max_attempts=99)
    assert after(running, failed()).after.status is Status.QUEUED


def test_with_one_attempt_a_lost_worker_is_the_end() -> None:
    running = task_in(Status.RUNNING, max_attempts=1)
    change = after(running, failed(reason=Reason.WORKER_LOST, worker_died=True))
    assert (change.after.status, change.after.reason) == (Status.FAILED, Reason.WORKER_LOST)


def test_a_task_that_was_asked_to_cancel_is_canceled_however_it_fails() -> None:
    running = task_in(Status.RUNNING, cancel_requested=True)
    for failure in (failed(), failed(worker_died=True), failed(retry=False), failed(retry_after_seconds=1.0)):
        assert after(running, failure).after.status is Status.CANCELED


@given(
    attempt=st.integers(1, 10**6),
    first=st.floats(0, 1e6),
    factor=st.floats(1, 100),
    more=st.floats(0, 1e9),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_a_delay_never_leaves_its_bounds(attempt: int, first: float, factor: float, more: float, chance: float) -> None:
    most = first + more
    calm = Retry(first_seconds=first, factor=factor, most_seconds=most, jitter=False)
    whole = calm.delay_seconds(attempt=attempt, chance=chance)
    assert 0 <= whole <= most
    assert calm.delay_seconds(attempt=attempt + 1, chance=chance) >= whole
    spread = Retry(first_seconds=first, factor=factor, most_seconds=most).delay_seconds(attempt=attempt, chance=chance)
    assert whole / 2 <= spread <= whole


@pytest.mark.parametrize(
    "wrong", [{"max_attempts": 0}, {"first_seconds": -1}, {"factor": 0.5}, {"first_seconds": 9, "most_seconds": 8}]
)
def test_a_retry_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(reversed(wrong)) if len(wrong) > 1 else next(iter(wrong))):
        Retry(**wrong)


@given(
    losses=st.integers(0, 5),
    attempt=st.integers(1, 6),
    extra=st.integers(0, 5),
    cancel=st.booleans(),
    retry=st.booleans(),
    died=st.booleans(),
    later=st.none() | st.floats(0, 1e6),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_every_failure_ends_or_is_tried_again_within_its_attempts(
    losses: int, attempt: int, extra: int, cancel: bool, retry: bool, died: bool, later: float | None, chance: float
) -> None:
    running = task_in(
        Status.RUNNING, losses=losses, attempt=attempt, max_attempts=attempt + extra, cancel_requested=cancel
    )
    change = after(running, failed(retry=retry, worker_died=died, retry_after_seconds=later), chance=chance)
    assert change.after.status in (Status.QUEUED, Status.FAILED, Status.CANCELED)
    if change.after.status is Status.QUEUED:
        assert extra > 0 and retry and not cancel
        assert change.after.attempt == attempt and change.after.lease_until is None
    else:
        assert change.after.finished_at == NOW and change.after.reason is not None


@given(st.lists(st.tuples(st.sampled_from(list(Event)), st.floats(0, 100)), max_size=30))
def test_any_sequence_of_events_keeps_a_task_whole(steps: list[tuple[Event, float]]) -> None:
    task, now = task_in(Status.CREATED, run_at=None, version=1), NOW
    for event, passed in steps:
        now += passed
        before = task
        try:
            task = decide(task, event, facts(now=now, run_at=now + 1, lease_until=now + 30)).after
        except TransitionRefused:
            assert not allowed(task.status, event)
            continue
        assert task.version == before.version + 1  # the rest is asserted by Task itself when it is made
        assert task.attempt >= 0 and task.final == (task.status not in ("CREATED", "QUEUED", "RUNNING"))
        if before.status is Status.DELETED:
            raise AssertionError("a deleted task came back")
