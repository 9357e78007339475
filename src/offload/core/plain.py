"""Text from a server made safe to show: no escape that moves the cursor, colours or renames the terminal."""

import re

_UNSAFE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])?"  # ESC [ … m, ESC ] … BEL
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def plain_text(text: str) -> str:
    """Return text on one line or several, without control characters but line ends and tabs."""
    return _UNSAFE.sub("", text.replace("\r\n", "\n"))


def plain_line(text: str, *, length_max: int = 500) -> str:
    """Return text as one line of bounded length."""
    line = " ".join(plain_text(text).split())
    return line if len(line) <= length_max else line[: length_max - 1] + "…"
