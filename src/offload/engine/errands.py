"""Work that goes on to its end although whoever asked for it has gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Errands:
    """What was begun is done: a change that is being written has to be told, whether its client waits or not."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def do(self, errand: Coroutine[Any, Any, T]) -> T:
        """Wait for an errand; a caller that is cancelled leaves it running."""
        running = asyncio.get_running_loop().create_task(errand)
        self._running.add(running)  # the loop alone would not keep it
        running.add_done_callback(self._running.discard)
        return await asyncio.shield(running)
