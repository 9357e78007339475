"""When something recurs: by a cron expression in a zone, or by an interval; always the next due time after another."""

import math
from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal, get_args

from offload.core.cron import WrongCron, read_cron
from offload.core.quantities import parse_seconds, show_seconds
from offload.core.schedule_errors import WrongSchedule
from offload.core.task import Record, Seconds
from offload.core.zones import is_plain, local_date, moments_of, zone_of

EVERY_SECONDS_MIN, EVERY_SECONDS_MAX = 1.0, 366 * 86_400.0
CatchUp = Literal["skip", "last", "all"]
"""What becomes of due times that passed while nobody could act on them."""
CATCH_UPS: tuple[CatchUp, ...] = get_args(CatchUp)


class Recurrence(Record, frozen=True, kw_only=True):
    """Due times without end; built by `read_recurrence`, it is right."""

    cron: str = ""
    every_seconds: Seconds = 0.0
    timezone: str = "UTC"

    def next_after(self, at: Seconds, anchor: Seconds) -> Seconds:
        """Return the first due time after `at`; an interval counts from its anchor."""
        if not self.cron:
            steps = max(1, math.floor((at - anchor) / self.every_seconds) + 1)
            due = anchor + steps * self.every_seconds
            return due if due > at else anchor + (steps + 1) * self.every_seconds  # floats
        return next(_moments(self, at))

    def next_times(self, at: Seconds, anchor: Seconds, count: int) -> list[Seconds]:
        found: list[Seconds] = []
        for _ in range(count):
            at = self.next_after(at, anchor)
            found.append(at)
        return found

    def last_times(self, first: Seconds, until: Seconds, anchor: Seconds, count: int) -> tuple[list[Seconds], int]:
        """Return the last `count` due times from the due time `first` to `until`, and how many were before those.

        Decades are passed over quickly: more than a year back, the number may be off by a few for each shift of clocks.
        """
        if first > until:
            return [], 0
        if self.cron:
            return _last_moments(self, first, until, count)
        steps = max(0, math.floor((until - first) / self.every_seconds) - count)
        times = self._between(first + steps * self.every_seconds, until, anchor)
        everything = 1 + math.floor((until - first) / self.every_seconds + 1e-9)
        last = times[-count:]
        return last, max(0, everything - len(last))

    def _between(self, first: Seconds, last: Seconds, anchor: Seconds) -> list[Seconds]:
        found, at = [], first - 1e-3
        while (at := self.next_after(at, anchor)) <= last:
            found.append(at)
        return found

    def __str__(self) -> str:
        return f"{self.cron} ({self.timezone})" if self.cron else f"every {show_seconds(self.every_seconds)}"


_EXACT_DAYS = 400


def read_recurrence(*, cron: object = None, every: object = None, timezone: object = None) -> Recurrence:
    """Return what is asked for: either `cron` or `every`. Raise WrongSchedule."""
    mistakes: list[dict[str, Any]] = []
    found = Recurrence()
    if (cron is None) == (every is None):
        mistakes.append({"loc": ["cron"], "message": "give either `cron` or `every`"})
    elif cron is not None:
        found = _by_cron(cron, "UTC" if timezone is None else timezone, mistakes)
    elif timezone is not None:
        mistakes.append({"loc": ["timezone"], "message": "belongs to `cron`; an interval is the same everywhere"})
    else:
        found = Recurrence(every_seconds=_seconds(every, mistakes))
    if mistakes:
        said = "; ".join(f"{mistake['loc'][0]}: {mistake['message']}" for mistake in mistakes)
        raise WrongSchedule(said, mistakes)
    return found


def _by_cron(cron: object, timezone: object, mistakes: list[dict[str, Any]]) -> Recurrence:
    for name, value in (("cron", cron), ("timezone", timezone)):
        if not isinstance(value, str):
            mistakes.append({"loc": [name], "message": "must be a string"})
    if mistakes:
        return Recurrence()
    assert isinstance(cron, str) and isinstance(timezone, str)
    try:
        read_cron(cron)
    except WrongCron as error:
        mistakes.append({"loc": ["cron"], "message": str(error)})
    try:
        zone_of(timezone)
    except ValueError as error:
        mistakes.append({"loc": ["timezone"], "message": str(error)})
    return Recurrence(cron=" ".join(cron.split()), timezone=timezone)


def _seconds(every: object, mistakes: list[dict[str, Any]]) -> Seconds:
    seconds = math.nan
    if isinstance(every, str):
        try:
            seconds = parse_seconds(every)
        except ValueError as error:
            mistakes.append({"loc": ["every"], "message": str(error)})
            return seconds
    elif isinstance(every, (int, float)) and not isinstance(every, bool):
        seconds = float(every)
    if not EVERY_SECONDS_MIN <= seconds <= EVERY_SECONDS_MAX:
        takes = 'a number of seconds, or text such as "5m" or "1h", from 1 second to 366 days'
        mistakes.append({"loc": ["every"], "message": f"must be {takes}"})
    return seconds


def _moments(of: Recurrence, after: Seconds) -> Iterator[Seconds]:
    """Yield the due times of a cron expression after a moment."""
    cron = read_cron(of.cron)
    # a time left out may come true on the next date: begin a day early, and the first due time may be any
    first = local_date(after, zone_of(of.timezone)) - timedelta(days=2)
    for day in cron.days_from(first):
        for due in _moments_on(of.cron, of.timezone, day):
            if due > after:
                yield due
    raise AssertionError(f"{of.cron} was accepted, and never comes true after {after}")


def _last_moments(of: Recurrence, first: Seconds, until: Seconds, count: int) -> tuple[list[Seconds], int]:
    """Go back day by day: collect the last due times, count the others."""
    cron, zone = read_cron(of.cron), zone_of(of.timezone)
    per_day = len(cron.hours) * len(cron.minutes)
    newest = local_date(until, zone) + timedelta(days=2)
    oldest = local_date(first, zone) - timedelta(days=2)
    last: list[Seconds] = []
    before, earliest = 0, math.inf
    for back in range((newest - oldest).days + 1):
        day = newest - timedelta(days=back)
        if not cron.has(day):
            continue
        if back > _EXACT_DAYS and len(last) == count and (day - oldest).days > 4:
            before += per_day
            continue
        for due in reversed(_moments_on(of.cron, of.timezone, day)):
            if first <= due <= until and due < earliest:
                earliest = due
                if len(last) < count:
                    last.append(due)
                else:
                    before += 1
    return last[::-1], before


@lru_cache(maxsize=64)
def _moments_on(text: str, timezone: str, day: date) -> tuple[Seconds, ...]:
    """Return the due times of one local day, in order, each once."""
    cron, zone = read_cron(text), zone_of(timezone)
    minutes = [hour * 60 + minute for hour in cron.hours for minute in cron.minutes]
    if is_plain(day, zone):
        midnight = moments_of(day, 0, zone)[0][0]
        return tuple(midnight + minute * 60.0 for minute in minutes)
    found: set[Seconds] = set()
    for minute in minutes:
        moments, exists = moments_of(day, minute, zone)
        if cron.every_hour:
            found.update(moments if exists else ())
        else:
            found.add(moments[0])
    return tuple(sorted(found))
