"""When cron expressions and intervals are due: tables of zones and days, what is refused, and properties."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offload.core.cron import WrongCron, read_cron
from offload.core.recurrence import Recurrence, read_recurrence
from offload.core.schedule_errors import WrongSchedule

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo")


def at(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def shown(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%MZ")


def due(cron: str, after: str, count: int = 1, zone: str = "UTC") -> list[str]:
    recurrence = read_recurrence(cron=cron, timezone=zone)
    return [shown(moment) for moment in recurrence.next_times(at(after), 0.0, count)]


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:30Z", ["2026-01-01T00:01Z", "2026-01-01T00:02Z"]),
        ("0 0 * * *", "2026-01-01T00:00:00Z", ["2026-01-02T00:00Z", "2026-01-03T00:00Z"]),
        ("*/20 8-9 * * *", "2026-01-01T08:30Z", ["2026-01-01T08:40Z", "2026-01-01T09:00Z", "2026-01-01T09:20Z"]),
        ("5/25 0 * * *", "2026-01-01T00:00Z", ["2026-01-01T00:05Z", "2026-01-01T00:30Z", "2026-01-01T00:55Z"]),
        ("0 12 29 2 *", "2026-01-01T00:00Z", ["2028-02-29T12:00Z", "2032-02-29T12:00Z"]),
        ("0 12 29 2 *", "2096-03-01T00:00Z", ["2104-02-29T12:00Z"]),
        ("0 0 31 * *", "2026-01-31T00:00Z", ["2026-03-31T00:00Z", "2026-05-31T00:00Z"]),
        ("0 0 l * *", "2026-01-31T00:00Z", ["2026-02-28T00:00Z", "2026-03-31T00:00Z"]),
        ("0 0 15,L 2 *", "2027-12-31T00:00Z", ["2028-02-15T00:00Z", "2028-02-29T00:00Z"]),
        ("0 0 * * mon-fri", "2026-11-20T00:00Z", ["2026-11-23T00:00Z", "2026-11-24T00:00Z"]),
        ("0 0 * * fri-sun", "2026-11-20T00:00Z", ["2026-11-21T00:00Z", "2026-11-22T00:00Z", "2026-11-27T00:00Z"]),
        ("0 0 * * 7", "2026-11-20T00:00Z", ["2026-11-22T00:00Z"]),
        ("0 0 * * 0", "2026-11-20T00:00Z", ["2026-11-22T00:00Z"]),
        # both day fields: either is enough
        ("0 0 13 * fri", "2026-11-01T00:00Z", ["2026-11-06T00:00Z", "2026-11-13T00:00Z", "2026-11-20T00:00Z"]),
        # but not when one begins with *
        ("0 0 */2 * mon", "2026-11-01T00:00Z", ["2026-11-09T00:00Z", "2026-11-23T00:00Z"]),
        ("0 0 1 jan,JUL *", "2026-11-01T00:00Z", ["2027-01-01T00:00Z", "2027-07-01T00:00Z"]),
        ("@daily", "2026-12-31T10:00Z", ["2027-01-01T00:00Z"]),
        ("@HOURLY", "2026-12-31T23:10Z", ["2027-01-01T00:00Z"]),
        ("  0   4  *  *  * ", "2026-12-31T23:10Z", ["2027-01-01T04:00Z"]),
    ],
)
def test_an_expression_is_due(cron: str, after: str, expected: list[str]) -> None:
    assert due(cron, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("zone", "cron", "after", "expected"),
    [
        # Berlin, 29 March 2026: 02:00 becomes 03:00. What does not exist is due once, at the shift
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        ("Europe/Berlin", "0,15,45 2 * * *", "2026-03-29T00:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:00Z"]),
        ("Europe/Berlin", "0 2,3 * * *", "2026-03-29T00:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:00Z"]),
        # each hour that passes, and none between
        ("Europe/Berlin", "30 * * * *", "2026-03-29T00:00Z", ["2026-03-29T00:30Z", "2026-03-29T01:30Z"]),
        # Berlin, 25 October 2026: 03:00 becomes 02:00. What comes twice is due once
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        ("Europe/Berlin", "0 3 * * *", "2026-10-24T12:00Z", ["2026-10-25T02:00Z"]),
        # unless it is due every hour: then also in the one that comes twice
        ("Europe/Berlin", "30 * * * *", "2026-10-25T00:00Z", ["2026-10-25T00:30Z", "2026-10-25T01:30Z"]),
        ("Europe/Berlin", "59 * * * *", "2026-10-25T00:00Z", ["2026-10-25T00:59Z", "2026-10-25T01:59Z"]),
        ("America/New_York", "30 2 * * *", "2026-03-08T00:00Z", ["2026-03-08T07:00Z", "2026-03-09T06:30Z"]),
        ("America/New_York", "30 1 * * *", "2026-11-01T00:00Z", ["2026-11-01T05:30Z", "2026-11-02T06:30Z"]),
        # half an hour at a time
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00Z", ["2026-10-03T15:30Z", "2026-10-04T15:15Z"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00Z", ["2026-04-04T14:45Z", "2026-04-05T15:15Z"]),
        # midnight itself does not exist
        ("America/Sao_Paulo", "0 0 * * *", "2018-11-03T12:00Z", ["2018-11-04T03:00Z", "2018-11-05T02:00Z"]),
        ("Asia/Beirut", "0 0 * * *", "2026-03-28T12:00Z", ["2026-03-28T22:00Z", "2026-03-29T21:00Z"]),
        # a whole day does not exist
        ("Pacific/Apia", "0 9 30 12 *", "2011-12-01T00:00Z", ["2011-12-30T10:00Z", "2012-12-29T19:00Z"]),
        ("Asia/Kathmandu", "0 9 * * *", "2026-05-01T00:00Z", ["2026-05-01T03:15Z"]),
        # a negative shift in winter, as the database has it for Dublin
        ("Europe/Dublin", "30 1 * * *", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        ("Europe/Dublin", "30 1 * * *", "2026-10-24T12:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
    ],
)
def test_clocks_that_are_put_forward_and_back(zone: str, cron: str, after: str, expected: list[str]) -> None:
    assert due(cron, after, len(expected), zone) == expected


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("0 0 30 2 *", "never comes true"),
        ("0 0 31 2,4,6,9,11 *", "never comes true"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("", "five fields"),
        ("60 * * * *", "not within 0 to 59"),
        ("* 24 * * *", "not within 0 to 23"),
        ("* * 0 * *", "not within 1 to 31"),
        ("* * * 13 *", "not within 1 to 12"),
        ("* * * * 8", "not within 0 to 7"),
        ("5-1 * * * *", "a range goes upwards"),
        ("*/0 * * * *", "a step is at least 1"),
        ("*/61 * * * *", "a step is at least 1"),
        ("a * * * *", "is not a number"),
        ("* * * foo *", "nor one of jan"),
        ("-1 * * * *", "is not *, a number"),
        ("1,,2 * * * *", "is not *, a number"),
        ("１ * * * *", "is not *, a number"),
        ("@reboot", "is not one of"),
        ("0 " * 200, "at most 256"),
    ],
)
def test_what_is_no_expression_is_refused_and_says_why(cron: str, says: str) -> None:
    with pytest.raises(WrongCron, match=says.replace("*", r"\*")):
        read_cron(cron)


@pytest.mark.parametrize(
    ("given", "loc"),
    [
        ({}, "cron"),
        ({"cron": "* * * * *", "every": 5}, "cron"),
        ({"cron": "* * * * *", "timezone": "Europe/Atlantis"}, "timezone"),
        ({"cron": "* * * * *", "timezone": "../../etc/passwd"}, "timezone"),
        ({"cron": "* * * * *", "timezone": "Europe"}, "timezone"),
        ({"cron": "* * * * *", "timezone": 5}, "timezone"),
        ({"cron": 5}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"every": 5, "timezone": "UTC"}, "timezone"),
        ({"every": 0.5}, "every"),
        ({"every": -5}, "every"),
        ({"every": "soon"}, "every"),
        ({"every": "400d"}, "every"),
        ({"every": True}, "every"),
        ({"every": float("nan")}, "every"),
        ({"every": []}, "every"),
    ],
)
def test_a_wrong_recurrence_says_where(given: dict[str, object], loc: str) -> None:
    with pytest.raises(WrongSchedule) as raised:
        read_recurrence(**given)
    assert [mistake["loc"] for mistake in raised.value.errors] == [[loc]]


def test_an_interval_counts_from_its_anchor() -> None:
    recurrence = read_recurrence(every="5m")
    assert recurrence.next_times(1_000.0, 1_000.0, 3) == [1_300.0, 1_600.0, 1_900.0]
    assert recurrence.next_after(1_299.999, 1_000.0) == 1_300.0
    assert recurrence.next_after(500.0, 1_000.0) == 1_300.0
    assert [read_recurrence(every=given).every_seconds for given in (90, 1.5, "1h30m", "2d")] == [90, 1.5, 5400, 172800]


FIELDS = st.tuples(
    st.sampled_from(["*", "0", "30", "*/7", "5,35", "10-50/20"]),
    st.sampled_from(["*", "0", "1", "2", "3", "1-4", "*/5", "23"]),
    st.sampled_from(["*", "1", "29", "31", "l", "*/3"]),
    st.sampled_from(["*", "2", "3", "10,11"]),
    st.sampled_from(["*", "0", "1-5", "sun"]),
)
CRONS = FIELDS.map(" ".join).filter(lambda cron: not cron.endswith(" 31 2 *"))  # a day that no year has is refused
MOMENTS = st.integers(int(at("2010-01-01T00:00Z")), int(at("2037-01-01T00:00Z")))


@settings(max_examples=60, deadline=None)
@given(cron=CRONS, zone=st.sampled_from(ZONES), moment=MOMENTS)
def test_a_due_time_comes_later_and_nothing_is_due_between(cron: str, zone: str, moment: int) -> None:
    recurrence = read_recurrence(cron=cron, timezone=zone)
    first, second = recurrence.next_times(float(moment), 0.0, 2)
    assert moment < first < second
    # asked at any time between, the answer is the same
    for between in (first - 0.001, (moment + first) / 2, float(moment)):
        assert recurrence.next_after(max(between, float(moment)), 0.0) == first
    assert recurrence.next_after(first, 0.0) == second


@settings(max_examples=30, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    day=st.integers(0, 365 * 15).map(lambda days: datetime(2015, 1, 1, tzinfo=UTC) + timedelta(days=days)),
)
def test_a_daily_time_is_due_once_on_each_local_day_at_that_time(
    zone: str, hour: int, minute: int, day: datetime
) -> None:
    recurrence = read_recurrence(cron=f"{minute} {hour} * * *", timezone=zone)
    moments = recurrence.next_times(day.timestamp(), 0.0, 10)
    local = [datetime.fromtimestamp(moment, ZoneInfo(zone)) for moment in moments]
    assert [found.date() for found in local] == [local[0].date() + timedelta(days=n) for n in range(10)]
    for found in local:
        wall = found.replace(hour=hour, minute=minute, fold=0)
        exists = wall.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall.replace(tzinfo=None)
        assert not exists or ((found.hour, found.minute) == (hour, minute) and found.fold == 0)


RECURRENCES = st.one_of(
    st.builds(lambda cron, zone: read_recurrence(cron=cron, timezone=zone), CRONS, st.sampled_from(ZONES)),
    st.builds(lambda seconds: Recurrence(every_seconds=seconds), st.sampled_from([1.0, 7.5, 60.0, 86_400.0])),
)


@settings(max_examples=40, deadline=None)
@given(recurrence=RECURRENCES, start=MOMENTS, hours=st.integers(0, 50), count=st.sampled_from([1, 3, 100]))
def test_the_last_due_times_are_the_same_as_counted_one_by_one(
    recurrence: Recurrence, start: int, hours: int, count: int
) -> None:
    anchor = start + 0.25
    first = recurrence.next_after(float(start), anchor)
    until = first + min(hours * 3600.0, 500 * (recurrence.every_seconds or 3600.0))
    everything, found = [], first
    while found <= until:
        everything.append(found)
        found = recurrence.next_after(found, anchor)
    last, before = recurrence.last_times(first, until, anchor, count)
    assert last == everything[-count:]
    assert before == len(everything) - len(last)


def test_years_of_minutes_are_passed_over_in_no_time() -> None:
    every_minute = read_recurrence(cron="* * * * *", timezone="Europe/Berlin")
    start = at("2000-01-01T00:00Z")
    last, before = every_minute.last_times(start, at("2026-01-01T00:00Z"), 0.0, 100)
    assert len(last) == 100 and shown(last[-1]) == "2026-01-01T00:00Z"
    assert before == pytest.approx(26 * 365.25 * 1440, rel=0.001)
    last, before = read_recurrence(every=1).last_times(0.0, 1e9, 0.0, 2)
    assert (last, before) == ([999_999_999.0, 1e9], 999_999_999)
