"""A schedule's bookkeeping: what is due under each policy, what a change keeps, and clocks that were wrong."""

import msgspec
import pytest

from offload.core.recurrence import CatchUp, Recurrence, read_recurrence
from offload.core.schedule import (
    CATCH_UP_MAX,
    Definition,
    Schedule,
    acted,
    changed,
    mended,
    new_schedule,
    plan,
    tags_of,
    task_id_of,
)

NOW = 1_800_000_000.0
MINUTELY = Recurrence(every_seconds=60.0)


def schedule(catch_up: CatchUp = "last", recurrence: Recurrence = MINUTELY, **fields: object) -> Schedule:
    what = Definition(job="report", recurrence=recurrence, catch_up=catch_up)
    return msgspec.structs.replace(new_schedule("nightly", "anna", what, NOW), **fields)


def test_a_new_schedule_is_due_for_the_first_time_after_its_first_interval() -> None:
    assert schedule().next_at == NOW + 60
    paused = new_schedule("x", "", Definition(job="report", recurrence=MINUTELY, paused=True), NOW)
    assert paused.next_at is None


@pytest.mark.parametrize(
    ("catch_up", "late", "times", "missed"),
    [
        ("skip", 0.0, [60], 0),
        ("skip", 59.0, [60], 0),
        ("skip", 130.0, [180], 2),
        ("last", 130.0, [180], 2),
        ("all", 130.0, [60, 120, 180], 0),
        ("last", 86_400.0 * 365, [60 + 86_400 * 365], 525_600),
        ("all", 60.0 * 149, list(range(51 * 60, 151 * 60, 60)), 50),
    ],
)
def test_what_passed_unnoticed_is_due_as_the_policy_says(
    catch_up: CatchUp, late: float, times: list[float], missed: int
) -> None:
    found = plan(schedule(catch_up), NOW + 60 + late)
    assert [at - NOW for at in found.times] == times and len(found.times) <= CATCH_UP_MAX
    assert found.missed == missed
    assert found.next_at > NOW + 60 + late >= found.next_at - 60


def test_with_skip_a_due_time_that_is_more_than_a_minute_late_is_missed() -> None:
    hourly = schedule("skip", Recurrence(every_seconds=3600.0))
    assert plan(hourly, NOW + 3600 + 60).times == (NOW + 3600,)
    late = plan(hourly, NOW + 3600 + 61)
    assert (late.times, late.missed, late.next_at) == ((), 1, NOW + 7200)
    assert plan(schedule("last", Recurrence(every_seconds=3600.0)), NOW + 3600 + 61).times == (NOW + 3600,)


def test_what_there_was_no_room_for_stays_due() -> None:
    before = schedule("all")
    found = plan(before, NOW + 300)
    some = acted(before, found, 2)
    assert (some.next_at, some.fired, some.last_at) == (NOW + 180, 2, NOW + 120)
    assert some.last_task == task_id_of(before, NOW + 120) and some.version == before.version + 1
    rest = acted(some, plan(some, NOW + 300), 3)
    assert (rest.next_at, rest.fired, rest.missed, rest.last_at) == (NOW + 360, 5, 0, NOW + 300)


def test_a_due_time_makes_one_id_and_another_schedule_another() -> None:
    one, other = schedule(), schedule()
    assert task_id_of(one, NOW) == task_id_of(one, NOW + 1e-7) != task_id_of(one, NOW + 60)
    assert task_id_of(one, NOW) != task_id_of(other, NOW)
    assert task_id_of(one, NOW)[14] == "4"
    assert tags_of(one, NOW) == {"schedule": "nightly", "due": "2027-01-15T08:00:00.000Z"}


def test_a_change_keeps_what_came_of_it_and_a_new_recurrence_counts_from_now() -> None:
    before = schedule(fired=7, last_at=NOW, last_task="x")
    later = changed(before, msgspec.structs.replace(before.what, input=b'{"a":1}'), NOW + 100)
    assert (later.next_at, later.fired, later.last_task, later.id) == (NOW + 60, 7, "x", before.id)
    hourly = msgspec.structs.replace(before.what, recurrence=read_recurrence(every="1h"))
    assert changed(before, hourly, NOW + 100).next_at == NOW + 3700


def test_a_pause_is_no_reason_to_catch_up() -> None:
    before = schedule("all")
    paused = changed(before, msgspec.structs.replace(before.what, paused=True), NOW + 10)
    assert paused.next_at is None
    resumed = changed(paused, before.what, NOW + 1_000)
    assert resumed.next_at == NOW + 1_020  # the grid stays


def test_a_clock_that_ran_ahead_is_put_right() -> None:
    assert mended(schedule(), NOW) is None
    assert mended(schedule(), NOW - 30) is None  # two nodes need not have the same time
    year = 366 * 86_400.0
    ahead = schedule(next_at=NOW + year)
    right = mended(ahead, NOW)
    assert right is not None and (right.next_at, right.anchor_at) == (NOW + 60, NOW)
    daily = schedule(recurrence=read_recurrence(cron="0 2 * * *"), next_at=NOW + year)
    right = mended(daily, NOW)
    assert right is not None and right.next_at == daily.what.recurrence.next_after(NOW, NOW)
    assert mended(msgspec.structs.replace(ahead, next_at=None), NOW) is None
