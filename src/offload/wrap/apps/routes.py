"""Which requests become tasks, and in which line they wait: read from patterns such as `POST /render/*=2`."""

import fnmatch
import re
from collections.abc import Iterable, Sequence

import msgspec

from offload.core.errors import WrongSetting

REQUEST = "request"
"""The job of every request that is in no line of its own."""
ALWAYS_DIRECT = frozenset({"HEAD", "OPTIONS", "TRACE", "CONNECT"})
"""Methods that ask about something and have no answer worth waiting for; browsers send OPTIONS before the request."""
IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})

_PATTERN = re.compile(r"(?:(?P<method>[A-Z]+)\s+)?(?P<glob>/[^\s=]*)(?:=(?P<workers>[0-9]{1,4}))?")


class Slow(msgspec.Struct, frozen=True, kw_only=True):
    """One pattern of slow routes."""

    glob: str
    method: str = ""
    """Empty: every method."""
    job: str = REQUEST
    workers: int | None = None
    """How many of its requests run at a time; None: it shares the line of all others."""

    def fits(self, method: str, path: str) -> bool:
        return self.method in ("", method) and fnmatch.fnmatchcase(path, self.glob)


def read_slow(patterns: Iterable[str]) -> tuple[Slow, ...]:
    """Return the slow routes; the first that fits a request counts. Raise WrongSetting."""
    found: list[Slow] = []
    for pattern in patterns:
        read = _PATTERN.fullmatch(pattern.strip())
        if read is None or read["workers"] == "0":
            raise WrongSetting(
                f"slow route {pattern!r}: write a path as in /transcribe, /render/*, POST /orders or /report=2"
            )
        workers = None if read["workers"] is None else int(read["workers"])
        name = REQUEST if workers is None else _name(read["glob"], {each.job for each in found})
        found.append(Slow(glob=read["glob"], method=read["method"] or "", job=name, workers=workers))
    return tuple(found)


def slow_job(slow: Sequence[Slow], method: str, path: str) -> str | None:
    """Return the job of a request to a slow route, None when its route is none of them."""
    return next((each.job for each in slow if each.fits(method, path)), None)


def _name(glob: str, taken: set[str]) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", glob.lower()).strip("-")[:40]
    name = f"{REQUEST}-{words or 'all'}"
    while name in taken:
        name += "-more"
    return name
