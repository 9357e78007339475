"""What commands print: results on standard output, the rest on standard error, nothing that steers a terminal."""

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from offload.core.plain import plain_line, plain_text

_STEERING = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def say(text: str = "") -> None:
    """Print a line of output."""
    print(plain_text(text))


def tell(text: str) -> None:
    """Print a line about what happens, beside the output."""
    print(plain_text(text), file=sys.stderr, flush=True)


def as_json(value: Any) -> str:
    """Return JSON for people and programs; what would steer a terminal is escaped."""
    text = json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode("utf-8", "replace").decode()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns; each cell is one line."""
    clean = [[plain_line(cell, length_max=80) for cell in row] for row in rows]
    widths = [
        max(len(head[at]), *(len(row[at]) for row in clean)) if clean else len(head[at]) for at in range(len(head))
    ]
    lines = [[name.upper() for name in head], *clean]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def local_time(at: datetime | None) -> str:
    """Return a time in this machine's zone, to the second."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size_text(size: int | None) -> str:
    """Return a size as people say it."""
    if size is None:
        return "unknown size"
    for unit, bytes_each in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= bytes_each:
            return f"{size / bytes_each:.1f} {unit}"
    return f"{size} bytes"
