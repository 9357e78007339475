"""What one setting is: its unit, how it is read from text or TOML, its bounds, how it is shown."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offload.core.quantities import parse_bytes, parse_seconds, show_bytes, show_seconds

PREFIX = "OFFLOAD_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one kind of value is read from text or TOML and shown again."""

    unit: str
    read: Callable[[object], object]
    show: Callable[[Any], str] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a setting is, whichever layer gives its value."""

    name: str
    help: str
    kind: Kind
    optional: bool
    least: float | None
    most: float | None
    choices: tuple[object, ...]
    default: str

    @property
    def env(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def read(self, value: object) -> object:
        """Return the value that text or TOML means, or raise ValueError."""
        if self.optional and isinstance(value, str) and value.strip().lower() == "none":
            return None
        return self.kind.read(value)

    def show(self, value: object) -> str:
        return "none" if value is None else self.kind.show(value)

    def wrong(self, value: object) -> str | None:
        """Say what is wrong with a value of the right type, None when nothing is."""
        if value is None:
            return None if self.optional else "needs a value"
        if self.choices and value not in self.choices:
            return f"{self.show(value)!r} is none of {', '.join(map(str, self.choices))}"
        if self.least is not None and isinstance(value, (int, float)) and value < self.least:
            return f"{self.show(value)} is less than {self.show(self.least)}"
        if self.most is not None and isinstance(value, (int, float)) and value > self.most:
            return f"{self.show(value)} is more than {self.show(self.most)}"
        return None


def declare(
    default: Any, help: str, kind: Kind, *, least: float | None = None, most: float | None = None,
    choices: tuple[object, ...] = (), default_text: str = "",
) -> Any:  # fmt: skip
    fixed = {"default_factory": default} if callable(default) else {"default": default}
    shown = default_text or ("none" if default is None else kind.show(default))
    meta = {"help": help, "kind": kind, "least": least, "most": most, "choices": choices, "default": shown}
    return field(**fixed, metadata=meta)


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{value!r} is not text")
    return value


def _count(value: object) -> int:
    text = str(value).strip().replace("_", "") if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[+-]?\d+", text):
        raise ValueError(f"{value!r} is not a whole number")
    return int(text)


def _bytes(value: object) -> int:
    if isinstance(value, str):
        return parse_bytes(value)
    return _count(value)


def _seconds(value: object) -> float:
    if isinstance(value, str):
        return parse_seconds(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    raise ValueError(f'{value!r} is not a duration; write a number of seconds, or text such as "30s" or "7d"')


def _without_password(url: str) -> str:
    return re.sub(r"(?<=//).*@", "***@", url.partition("?")[0], flags=re.DOTALL)


def _names(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{value!r} is not a list of names")
    return tuple(item.strip() for item in value if item.strip())


def _flag(value: object) -> bool:
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    found = words.get(str(value).strip().lower()) if isinstance(value, (bool, str)) else None
    if found is None:
        raise ValueError(f"{value!r} is neither yes nor no")
    return found


TEXT = Kind(unit="text", read=_text)
COUNT = Kind(unit="number", read=_count)
BYTES = Kind(unit="size", read=_bytes, show=lambda value: show_bytes(int(value)))
SECONDS = Kind(unit="duration", read=_seconds, show=show_seconds)
NAMES = Kind(unit="names", read=_names, show=",".join)
FLAG = Kind(unit="yes or no", read=_flag, show=lambda value: "yes" if value else "no")
URL = Kind(unit="URL", read=_text, show=_without_password)
DIRECTORY = Kind(unit="path", read=lambda value: Path(_text(value)).expanduser())
