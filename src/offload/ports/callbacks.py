"""The store of callbacks to send: what is taken and settled, whose turn it is, and what signs them."""

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Protocol

from offload.core.callback import Delivery, DeliveryState
from offload.core.signing import Secret
from offload.core.task import Record, Scope, Seconds


class Standing(IntEnum):
    """What is known of a host that callbacks go to."""

    WORKS = 0
    NEW = 1
    """Nothing was sent there yet."""
    FAILING = 2


class Lines(Record, frozen=True, kw_only=True):
    """How many deliveries may be taken now: for hosts of each standing, and for one host."""

    room: Mapping[Standing, int]
    busy: Mapping[str, int] = {}
    """How many are being sent to a host already."""
    host_max: int = 8
    """At a time to a host that works; one at a time to every other."""


class Taken(Record, frozen=True, kw_only=True):
    delivery: Delivery
    standing: Standing


class Settlement(Record, frozen=True, kw_only=True):
    """What came of a delivery that was taken."""

    before: Delivery
    after: Delivery
    worked: bool | None
    """What it says about the host; None: nothing."""


class DeliveryFilter(Record, frozen=True, kw_only=True):
    task_id: str | None = None
    state: DeliveryState | None = None
    before_key: int | None = None
    limit: int = 100


FAILURES_MAX = 3
"""A host that worked is failing after so many failures in a row; a new one after its first."""


class DeliveryStore(Protocol):
    """The callbacks to send. They come in with the changes and notes of TaskStore, and go with their tasks' rows.

    Raises DiskFull or StoreUnavailable.
    """

    def listen(self, ring: Callable[[], None]) -> None:
        """Call `ring` on the event loop whenever deliveries were committed."""

    async def claim(self, lines: Lines, *, now: Seconds, lease_until: Seconds) -> list[Taken]:
        """Take due deliveries, and those whose lease has ended; hosts take turns, each one's oldest first."""

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Record what came of deliveries that are still in the same try; tell which were."""

    async def next_due(self, now: Seconds) -> Seconds | None:
        """Return when the next delivery comes due, or the next lease ends, after `now`."""

    async def find(self, scope: Scope, wanted: DeliveryFilter) -> list[Delivery]:
        """Return deliveries newest first."""

    async def replay(self, scope: Scope, delivery_id: str, *, now: Seconds) -> Delivery | None:
        """Have it sent again, as `core.callback.replayed` says; None when there is none."""

    async def failing_hosts(self) -> int: ...

    async def secrets(self, owner: str) -> list[Secret]:
        """Return an owner's secrets, the newest first; old ones may have ended."""

    async def add_secret(self, secret: Secret) -> None:
        """Keep an owner's first secret; do nothing when there is one."""

    async def rotate_secret(self, secret: Secret, *, until: Seconds) -> None:
        """Put a new secret first; the one before is valid until then, older ones are forgotten."""
