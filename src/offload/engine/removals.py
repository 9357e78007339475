"""Deletes the blobs of what is gone; while they cannot be deleted, it remembers which."""

import asyncio
import logging
from collections.abc import Iterable

from offload.core.errors import TryAgain
from offload.ports import Blobs

log = logging.getLogger("offload.removals")

AT_ONCE_MAX = 16
REMEMBERED_MAX = 100_000
"""Beyond that, and after a crash, the sweep for blobs of no task finds them."""


class Removals:
    """The row is gone before its blobs: a deletion that fails leaves what nobody can see any more."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._left: dict[str, None] = {}
        self._room = asyncio.Semaphore(AT_ONCE_MAX)

    async def drop(self, prefixes: Iterable[str]) -> None:
        """Delete all blobs below these prefixes, now or later."""
        await asyncio.gather(*map(self._drop, prefixes))

    async def drop_left(self) -> None:
        """Delete what could not be deleted before."""
        left, self._left = self._left, {}
        await self.drop(left)

    async def _drop(self, prefix: str) -> None:
        async with self._room:
            try:
                await self._blobs.delete(prefix)
            except TryAgain as error:
                log.warning("the files below %s cannot be deleted now, trying again later: %s", prefix, error)
                if len(self._left) < REMEMBERED_MAX:
                    self._left[prefix] = None
