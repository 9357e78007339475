"""Where spans go: the engine says what began and ended when, the adapter knows how that is told."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol

from offload.core.task import Seconds

Attributes = Mapping[str, str | int | float | bool]


class SpanKind(StrEnum):
    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"
    INTERNAL = "internal"


class Span(Protocol):
    """Something that takes time. It is told when it ends; one that never does is never told."""

    @property
    def traceparent(self) -> str:
        """Return what makes another span a part of this one."""

    def end(self, at: Seconds, *, attributes: Attributes | None = None, error: str = "") -> None:
        """Once; must not block."""


class Tracer(Protocol):
    """Never raises, and never waits for whoever collects the spans."""

    def begin(
        self, name: str, kind: SpanKind, *, parent: str, at: Seconds, attributes: Attributes | None = None
    ) -> Span:
        """Begin a span, now or in the past; without a parent it begins a trace."""
