"""Sizes and durations as people write them: "512MB", "1GiB", "30s", "7d"; a bare number is bytes or seconds."""

import math
import re

_SIZES = {
    "": 1, "b": 1, "k": 1000, "kb": 1000, "m": 1000**2, "mb": 1000**2, "g": 1000**3, "gb": 1000**3,
    "t": 1000**4, "tb": 1000**4,
    "kib": 1024, "mib": 1024**2, "gib": 1024**3, "tib": 1024**4,
}  # fmt: skip
_DURATIONS = {
    "": 1.0,
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_PART = re.compile(r"\s*(\d+(?:_\d+)*(?:\.\d+)?|\.\d+)\s*([A-Za-z]*)\s*")


def parse_bytes(text: str) -> int:
    """Return the number of bytes that "512MB", "1GiB" or "1024" says, or raise ValueError."""
    found = _PART.fullmatch(text)
    unit = found[2].lower() if found else None
    if found is None or unit not in _SIZES:
        raise ValueError(f"{text!r} is not a size; write a number of bytes, or one with a unit such as 512MB or 1GiB")
    return round(float(found[1].replace("_", "")) * _SIZES[unit])


def parse_seconds(text: str) -> float:
    """Return the number of seconds that "30s", "7d", "1h30m" or "2.5" says, or raise ValueError."""
    wrong = ValueError(
        f"{text!r} is not a duration; write a number of seconds, or one with a unit such as 500ms, 30s, 15m, 24h or 7d"
    )
    total, at = 0.0, 0
    while at < len(text) or at == 0:
        found = _PART.match(text, at)
        unit = found[2].lower() if found else None
        if found is None or unit not in _DURATIONS:
            raise wrong
        if unit == "" and found.end() - at != len(text):
            raise wrong  # "1h30": thirty what?
        total += float(found[1].replace("_", "")) * _DURATIONS[unit]
        at = found.end()
    return total


def show_bytes(size: int) -> str:
    """Return a size as `parse_bytes` reads it, in the largest unit that fits exactly."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit.lower()] == 0:
            return f"{size // _SIZES[unit.lower()]}{unit}"
    return str(size)


def show_seconds(seconds: float) -> str:
    """Return a duration as `parse_seconds` reads it, in the largest unit that fits exactly."""
    for unit in ("d", "h", "m"):
        if seconds >= _DURATIONS[unit] and math.fmod(seconds, _DURATIONS[unit]) == 0:
            return f"{seconds / _DURATIONS[unit]:g}{unit}"
    return f"{seconds:g}s"
