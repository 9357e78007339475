"""Local times of a zone as moments: times that do not exist or come twice included."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from offload.core.task import Seconds

DAY = timedelta(days=1)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,3}", re.ASCII)


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """Return a zone by its name in the IANA database. Raise ValueError."""
    wrong = ValueError(f"{name[:80]!r} is not a time zone of the IANA database, such as UTC or Europe/Berlin")
    if len(name) > 64 or not _NAME.fullmatch(name):
        raise wrong
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a directory of the database is no zone either
        raise wrong from None


def local_date(at: Seconds, zone: tzinfo) -> date:
    return datetime.fromtimestamp(at, zone).date()


def is_plain(day: date, zone: tzinfo) -> bool:
    """Tell whether no clock of the zone is put forward or back on a day."""
    before, after = _midnight(day, zone), _midnight(day + DAY, zone)
    return before.utcoffset() == after.utcoffset() and before.replace(fold=1).utcoffset() == before.utcoffset()


def moments_of(day: date, minute_of_day: int, zone: tzinfo) -> tuple[list[Seconds], bool]:
    """Return the moments at which clocks show a time, and whether the time exists.

    Usually one; two, the earlier first, of a time that comes twice; of one that does not exist the moment at which
    clocks are put forward over it.
    """
    naive = datetime.combine(day, time(minute_of_day // 60, minute_of_day % 60))
    first, second = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return [first.timestamp()], True
    earlier, later = sorted((first.timestamp(), second.timestamp()))
    if datetime.fromtimestamp(first.timestamp(), zone).replace(tzinfo=None) == naive:
        return [earlier, later], True
    return [_shift_between(earlier, later, zone)], False


def _shift_between(before: Seconds, after: Seconds, zone: tzinfo) -> Seconds:
    """Return the first second in (before, after] at which the zone has its later offset."""
    low, high = int(before), int(after)
    offset = _offset(high, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(middle, zone) == offset else (middle, high)
    return float(high)


def _offset(at: int, zone: tzinfo) -> timedelta | None:
    return datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone)
