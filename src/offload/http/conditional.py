"""Conditional and partial requests (RFC 9110): entity tags and byte ranges."""

import re

from offload.core.task import Record, Task
from offload.http.problems import WrongRange

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,18})[ \t]*-[ \t]*([0-9]{0,18})[ \t]*", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class Span(Record, frozen=True, kw_only=True):
    """The bytes of a file to send; `partial` when they were asked for by a range."""

    start: int
    size: int
    total: int
    partial: bool = False


def task_etag(task: Task) -> str:
    """Return a tag that changes with everything the store knows of a task; position and ETA do not change it."""
    return f'W/"{task.version}.{task.event_count}.{task.status}"'


def not_modified(if_none_match: str | None, etag: str) -> bool:
    """Tell whether the client already has this (weak comparison)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag.removeprefix("W/") in _TAG.findall(if_none_match)


def choose_span(size: int, range_header: str | None, if_range: str | None, etag: str | None) -> Span:
    """Return what to send. Several ranges, or an unreadable one, get the whole. Raise WrongRange past the end."""
    whole = Span(start=0, size=size, total=size)
    found = _RANGE.fullmatch(range_header) if range_header is not None else None
    if found is None or (if_range is not None and if_range.strip() != etag):
        return whole
    first, last = found[1], found[2]
    if first == "" and last == "":
        return whole
    if first == "":
        start, end = max(0, size - int(last)), size - 1
        if int(last) == 0:
            raise WrongRange(size)
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return whole
    if start >= size:
        raise WrongRange(size)
    return Span(start=start, size=end - start + 1, total=size, partial=True)
