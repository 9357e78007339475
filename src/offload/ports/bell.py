"""The bell between the nodes of one store."""

from collections.abc import Callable
from typing import Protocol

from offload.core.ring import Ring


class Bell(Protocol):
    """Tells other nodes what happened here. It may lose, repeat, delay and reorder: it only makes things quicker.

    Everything that a ring says is also found by looking at the store now and then. Nothing here raises for trouble on
    the way: what cannot be told is lost.
    """

    @property
    def alone(self) -> bool:
        """There are no other nodes and never will be: nobody rings, and nobody has to look."""

    async def start(self, hear: Callable[[Ring], None]) -> None:
        """Call `hear` on the event loop with what other nodes ring; what this node rings need not come back.

        After rings may have been lost, as when a connection was, call it with `Ring(missed=True)`.
        """

    async def ring(self, ring: Ring) -> None:
        """Tell the others; return when it is on its way, or lost. The caller gathers: one call at a time."""

    async def stop(self) -> None: ...
