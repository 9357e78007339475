"""What the client's core asks of the world: it is generators that yield these, and a sync or async driver does them."""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Flow: TypeAlias = Generator["Effect", Any, T]
"""A conversation with a server that ends in a T."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Bytes, or what makes a fresh iterator of them for each attempt."""

    type: str
    content: bytes = b""
    stream: Callable[[], Iterator[bytes]] | None = None
    size: int | None = None
    """How long the stream will be, None when nobody knows."""
    repeatable: bool = True
    """False: the stream can be read once only, so it is never sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    """Below the client's URL, escaped."""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    hold_seconds: float = 0.0
    """How long the server was asked to hold the answer."""
    streams: bool = False
    """A good answer is read piece by piece; an error is always read whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = b""
    stream: Any = None
    """Handed back in Read while the answer is open; every one is closed when its flow ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Exchange a request for an Answer; raise Unreachable when none came."""

    request: Request
    idle_seconds: float
    """How long nothing may move."""
    deadline: float | None
    """When, on the client's clock, a whole answer must be here."""


@dataclass(frozen=True, slots=True)
class Read:
    """Give the next piece of an open answer, empty at its end; raise Unreachable when it broke off."""

    stream: Any


@dataclass(frozen=True, slots=True)
class Drain:
    """Give the whole rest of an open answer; raise Unreachable when it broke off."""

    stream: Any


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Tell:
    """Call the user's function; an async driver awaits what it returns if it can be awaited."""

    listener: Callable[[Any], Any]
    value: Any


@dataclass(frozen=True, slots=True)
class Work:
    """Do something with the disk; an async driver does it in a thread."""

    do: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Give:
    """Hand a value to whoever goes through what a flow gives, and wait until they want the next."""

    value: Any


Effect: TypeAlias = Send | Read | Drain | Sleep | Tell | Work | Give


class Unreachable(Exception):
    """An exchange broke off; `nothing_sent` when it did before anything can have been done about it."""

    def __init__(self, why: str, *, nothing_sent: bool = False) -> None:
        super().__init__(why)
        self.nothing_sent = nothing_sent
