"""W3C trace context: the one line that says to which trace a request, a task or an attempt belongs."""

import re

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


def read_traceparent(text: str | None) -> str:
    """Return a traceparent as version 00 writes it, empty for what is none: such a one is ignored, never an error."""
    found = _TRACEPARENT.fullmatch(text or "")
    if found is None:
        return ""
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
        return ""
    # a later version may have more flags; we know one: that somebody upstream records this trace
    return f"00-{trace_id}-{span_id}-{int(flags, 16) & 1:02x}"


def trace_id_of(traceparent: str) -> str:
    """Return the id of the trace, empty when there is none."""
    return traceparent[3:35]
