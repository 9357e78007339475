"""The broker that carries tokens between the nodes of one store."""

from collections.abc import Sequence
from typing import Protocol

from offload.core.errors import OffloadError
from offload.core.ring import Lot
from offload.core.task import Record


class BrokerUnavailable(OffloadError):
    """The broker does not answer, or cannot take what it is given; clients never see this."""

    code = "BrokerUnavailable"


class Token(Record, frozen=True, kw_only=True):
    """Says that a task of its queue and job may be ready. The store has the truth: a token only saves a look at it."""

    queue: str
    job: str
    task_id: str
    """For people who trace; whoever takes the token claims what is first in line, not this task."""
    receipt: str = ""
    """What the broker needs to know it again; empty until it was taken."""

    @property
    def lot(self) -> Lot:
        return self.queue, self.job


class Broker(Protocol):
    """Carries tokens, each to one node. It may lose, repeat, delay and reorder: that costs time, and nothing else.

    Raises BrokerUnavailable, within seconds. There is one `take` of a lot at a time; announcing goes on beside it.
    """

    async def start(self) -> None:
        """Return at once, connected or not: who cannot connect tries again by itself, or at each call."""

    async def announce(self, tokens: Sequence[Token]) -> None:
        """Return when the broker has them all; after an error some may have come. None: tell that it is there."""

    async def take(self, lot: Lot, *, limit: int) -> list[Token]:
        """Wait some seconds for the first token of a lot; return up to `limit`, none when the time is over.

        Tokens that are neither acknowledged nor released come again some time after this node has gone.
        """

    async def acknowledge(self, tokens: Sequence[Token]) -> None:
        """Have done with tokens that were taken: they come no more."""

    async def release(self, tokens: Sequence[Token]) -> None:
        """Give back tokens that were taken, for any node to take at once."""

    async def restart(self) -> None:
        """Drop what connects to the broker and begin anew: it has been quiet for too long to be believed."""

    @property
    def reconnects(self) -> int:
        """How often a connection was made again after one was lost."""

    async def stop(self) -> None:
        """Give back what was taken as far as the broker can be reached, and close."""
