"""Cron expressions: five fields that say at which local minutes of which days something is due."""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

DAYS_MAX = 366 * 9
"""Whoever matches at all matches within eight years and a bit: 29 February skips the centuries."""

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_NICKNAMES = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_PART = re.compile(r"(\*|[0-9a-z]{1,3}(?:-[0-9a-z]{1,3})?)(?:/([0-9]{1,3}))?", re.ASCII)
LENGTH_MAX = 256


class WrongCron(ValueError):
    """The text is no cron expression, or one that never comes true."""


@dataclass(frozen=True, slots=True)
class Cron:
    """When something is due, in local time. As in every cron: of two restricted day fields either is enough."""

    minutes: tuple[int, ...]
    """Of an hour, in order."""
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    last_day: bool
    """The last day of each month, as well as `days`."""
    every_hour: bool
    """The hour field is `*`: due in each hour that passes, in one that comes twice too, in one left out not."""
    either_day: bool
    """Both day fields are restricted."""

    def has(self, day: date) -> bool:
        """Tell whether something is due on a day."""
        if day.month not in self.months:
            return False
        of_month = day.day in self.days or (self.last_day and (day + timedelta(days=1)).month != day.month)
        of_week = day.isoweekday() % 7 in self.weekdays
        return of_month or of_week if self.either_day else of_month and of_week

    def days_from(self, first: date) -> Iterator[date]:
        """Yield the days on which something is due, from `first` on; empty when none comes within DAYS_MAX days."""
        day, last = first, min(first.toordinal() + DAYS_MAX, date.max.toordinal())
        while day.toordinal() < last:
            if self.has(day):
                yield day
                last = min(day.toordinal() + DAYS_MAX, date.max.toordinal())
            day = day + timedelta(days=1) if day.month in self.months else _next_month(day)


@lru_cache(maxsize=1024)
def read_cron(text: str) -> Cron:
    """Return what an expression says. Raise WrongCron."""
    if len(text) > LENGTH_MAX:
        raise WrongCron(f"a cron expression has at most {LENGTH_MAX} characters")
    given = " ".join(text.lower().split())
    if given.startswith("@") and given not in _NICKNAMES:
        raise WrongCron(f"{text!r} is not one of {', '.join(_NICKNAMES)}")
    fields = _NICKNAMES.get(given, given).split(" ")
    if len(fields) != 5:
        raise WrongCron(f"{text!r} must have five fields: minute, hour, day of month, month, day of week")
    minute, hour, day, month, weekday = fields
    last_day = "l" in day.split(",")
    days = ",".join(part for part in day.split(",") if part != "l")
    found = Cron(
        minutes=tuple(sorted(_values("minute", minute, 0, 59))),
        hours=tuple(sorted(_values("hour", hour, 0, 23))),
        days=frozenset(_values("day of month", days, 1, 31)) if days or not last_day else frozenset(),
        months=frozenset(_values("month", month, 1, 12, _MONTHS)),
        weekdays=frozenset(number % 7 for number in _values("day of week", weekday, 0, 7, _WEEKDAYS)),
        last_day=last_day,
        every_hour=hour == "*",
        # a field that begins with * counts as unrestricted, as in every cron since the seventies
        either_day=not day.startswith("*") and not weekday.startswith("*"),
    )
    if next(found.days_from(date(2001, 1, 1)), None) is None:
        raise WrongCron(f"{text!r} never comes true: no such day is in any year")
    return found


def _values(what: str, field: str, least: int, most: int, names: dict[str, int] | None = None) -> set[int]:
    """Return the numbers that one field names."""
    found: set[int] = set()
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise WrongCron(f"{what} {field!r}: {part!r} is not *, a number, a range such as 1-5, or one with a step")
        span, step = match[1], int(match[2] or 1)
        if span == "*":
            first, last = least, most if most != 7 else 6
        else:
            ends = [_number(what, end, names or {}) for end in span.split("-")]
            first = ends[0]
            last = ends[-1] if len(ends) == 2 or match[2] is None else most
            if most == 7 and last == 0 < first:
                last = 7  # fri-sun: Sunday is the end of the week too
        if not least <= first <= most or not least <= last <= most:
            raise WrongCron(f"{what} {field!r}: {part!r} is not within {least} to {most}")
        if first > last or not 1 <= step <= max(most, 1):
            raise WrongCron(f"{what} {field!r}: {part!r} names nothing: a range goes upwards, a step is at least 1")
        found.update(range(first, last + 1, step))
    return found


def _number(what: str, text: str, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not text.isdigit():
        known = f", nor one of {', '.join(names)}" if names else ""
        raise WrongCron(f"{what}: {text!r} is not a number{known}")
    return int(text)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1) if (day.year, day.month) < (9999, 12) else date.max
