"""The queue by which workers that speak a broker's protocol get whole tasks."""

from collections.abc import Sequence
from typing import Protocol

from offload.core.ring import Lot
from offload.core.task import Record


class Mail(Record, frozen=True, kw_only=True):
    """One task for a worker elsewhere, with all that it needs."""

    queue: str
    job: str
    task_id: str
    body: bytes
    traceparent: str = ""
    """In the header of the message, where libraries for traces look for it; empty when there is no trace."""

    @property
    def lot(self) -> Lot:
        return self.queue, self.job


class Unread(Record, frozen=True, kw_only=True):
    """What waits of one lot."""

    mails: int
    consumers: int


class ReturnedMail(Record, frozen=True, kw_only=True):
    """One that came back: no worker will get it any more."""

    body: bytes
    rejected: bool
    """True: a worker did not want it. False: it was given to workers again and again, and none settled it."""
    receipt: str


class WorkQueue(Protocol):
    """Carries mails to workers, each until one has settled it. The store has the truth: one may come twice, or never.

    Raises BrokerUnavailable.
    """

    async def start(self) -> None:
        """Return at once, connected or not."""

    async def post(self, mails: Sequence[Mail]) -> None:
        """Return when they are durable."""

    async def unread(self, lot: Lot) -> Unread: ...

    async def returned(self, *, limit: int) -> list[ReturnedMail]:
        """Wait some seconds for mails that came back; return none when the time is over."""

    async def settle(self, returned: Sequence[ReturnedMail]) -> None:
        """Have done with mails that came back."""

    async def stop(self) -> None: ...
