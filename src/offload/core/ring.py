"""What nodes tell each other, and how it is packed into messages of a bounded size."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from offload.core.task import Record, Seconds

Lot = tuple[str, str]
"""A queue and a job: tasks that wait together."""

QUEUES, KEYS, SCHEDULES, DELIVERIES, NODES = "queues", "keys", "schedules", "deliveries", "nodes"
"""Topics: what nodes keep in memory of the store and read again when they hear of it."""


class Ring(Record, frozen=True, kw_only=True):
    """What became durable on one node that another may want to know at once. Only hints: the store has the truth."""

    ready: frozenset[Lot] = frozenset()
    """Tasks of these may be ready to be claimed."""
    due_at: Seconds | None = None
    """The earliest time at which something comes due that nobody waited for before."""
    changed: frozenset[str] = frozenset()
    """Ids of tasks that others may watch."""
    stopped: frozenset[str] = frozenset()
    """Ids of tasks whose running attempt is to stop."""
    topics: frozenset[str] = frozenset()
    """What else changed; a topic that a node does not know is for newer ones."""
    missed: bool = False
    """Rings may have been lost, for a connection was: look at everything again."""

    def __bool__(self) -> bool:
        return self != NOTHING


NOTHING = Ring()


class _Message(msgspec.Struct, frozen=True, omit_defaults=True, rename={
    "origin": "o", "ready": "r", "due_at": "d", "changed": "c", "stopped": "s", "topics": "t"
}):  # fmt: skip
    """A ring as it travels: short names, lists. What it lacks is empty, and what is added later is skipped."""

    origin: str
    ready: list[Lot] = []
    due_at: Seconds | None = None
    changed: list[str] = []
    stopped: list[str] = []
    topics: list[str] = []


def merged(rings: Iterable[Ring]) -> Ring:
    """Return one ring that says what all of them say."""
    found = list(rings)
    return Ring(
        ready=frozenset().union(*(ring.ready for ring in found)),
        due_at=min((ring.due_at for ring in found if ring.due_at is not None), default=None),
        changed=frozenset().union(*(ring.changed for ring in found)),
        stopped=frozenset().union(*(ring.stopped for ring in found)),
        topics=frozenset().union(*(ring.topics for ring in found)),
        missed=any(ring.missed for ring in found),
    )


def packed(ring: Ring, *, origin: str, bytes_max: int) -> list[str]:
    """Return messages, each of `bytes_max` bytes at most, that say what the ring says; `origin` is who rings."""
    pieces: list[tuple[str, object, int]] = []
    if ring.due_at is not None:
        pieces.append(("due_at", ring.due_at, 32))
    for field in ("stopped", "topics", "ready", "changed"):  # the urgent first
        pieces += [(field, item, len(msgspec.json.encode(item)) + 1) for item in sorted(getattr(ring, field))]
    room = bytes_max - len(msgspec.json.encode(_Message(origin=origin, ready=[], changed=[]))) - len(_SYNTAX)
    return [msgspec.json.encode(_message(origin, some)).decode() for some in _fitting(pieces, room)]


def unpacked(message: str | bytes) -> tuple[str, Ring] | None:
    """Return who rang and what; None for what is no such message."""
    try:
        found = msgspec.json.decode(message, type=_Message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found.origin, Ring(
        ready=frozenset(found.ready),
        due_at=found.due_at,
        changed=frozenset(found.changed),
        stopped=frozenset(found.stopped),
        topics=frozenset(found.topics),
    )


_SYNTAX = ',"r":[],"d":,"c":[],"s":[],"t":[]'


def _fitting(pieces: Sequence[tuple[str, object, int]], room: int) -> Iterator[list[tuple[str, object]]]:
    """Share the pieces out; one that is larger than a message alone is left out: the slow poll finds it."""
    some: list[tuple[str, object]] = []
    size = 0
    for field, item, item_bytes in pieces:
        if item_bytes > room:
            continue
        if size + item_bytes > room:
            yield some
            some, size = [], 0
        some.append((field, item))
        size += item_bytes
    if some:
        yield some


def _message(origin: str, pieces: Iterable[tuple[str, object]]) -> _Message:
    fields: dict[str, list[object]] = {}
    for field, item in pieces:
        fields.setdefault(field, []).append(item)
    due_at = fields.pop("due_at", [None])[0]
    return msgspec.convert({"o": origin, "d": due_at, **{_SHORT[field]: items for field, items in fields.items()}},
                           _Message)  # fmt: skip


_SHORT = {"ready": "r", "changed": "c", "stopped": "s", "topics": "t"}
