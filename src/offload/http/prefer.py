"""What a client would like (RFC 7240), and what of it was done."""

import re

from offload.core.task import Record, Seconds

_WAIT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,40})?", re.ASCII)


class Preferences(Record, frozen=True, kw_only=True):
    """What was asked for; what cannot be understood was not asked for, as the standard says."""

    wait_seconds: Seconds = 0
    minimal: bool = False
    respond_async: bool = False


NONE = Preferences()


def read_preferences(header: str | None, wait_seconds_max: Seconds) -> Preferences:
    """Return the preferences of a `Prefer` field; a longer wait than is given becomes the longest."""
    if header is None:
        return NONE
    seen: dict[str, str] = {}
    for part in header.split(","):
        name, _, value = part.partition(";")[0].partition("=")
        seen.setdefault(name.strip().lower(), value.strip().strip('"').lower())  # the first one counts
    wait = seen.get("wait", "")
    return Preferences(
        wait_seconds=min(float(wait), wait_seconds_max) if _WAIT.fullmatch(wait) else 0,
        minimal=seen.get("return") == "minimal",
        respond_async="respond-async" in seen,
    )


def applied(wished: Preferences, *, minimal: bool = False) -> bytes:
    """Return the value of `Preference-Applied`; empty when nothing was."""
    parts = []
    if wished.respond_async:
        parts.append("respond-async")
    if wished.wait_seconds:
        parts.append(f"wait={wished.wait_seconds:g}")
    if minimal:
        parts.append("return=minimal")
    return ", ".join(parts).encode()
