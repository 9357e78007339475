"""Trace contexts as W3C writes them: read strictly, and ignored when they are none."""

import pytest

from offload.core.trace import read_traceparent, trace_id_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (GOOD, GOOD),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", GOOD),
        (f"cc-{TRACE}-{SPAN}-01-what-will-be", GOOD),
        (f"cc-{TRACE}-{SPAN}-01", GOOD),
        (f"00-{TRACE}-{SPAN}-01-what-is-not", ""),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{TRACE.upper()}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE}-{SPAN}", ""),
        (f"{GOOD}, {GOOD}", ""),
        (f" {GOOD}", ""),
        (f"{GOOD}\n", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(given: str | None, read: str) -> None:
    assert read_traceparent(given) == read


def test_the_id_of_a_trace_is_in_its_middle() -> None:
    assert (trace_id_of(GOOD), trace_id_of("")) == (TRACE, "")
