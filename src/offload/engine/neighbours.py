"""What other nodes of the store do and this one must know of: heard by the bell, and looked for now and then."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from offload.core.ring import QUEUES, Ring
from offload.engine.dispatcher import Dispatcher
from offload.engine.parts import Parts, count_queues
from offload.engine.repeating import repeatable
from offload.engine.upkeep import Reaper

REREAD_ROUNDS = 4
"""Topics are read again every so many rounds, heard of or not."""
PAUSE_SECONDS = 0.05

Reread = Callable[[], Awaitable[None]]


class Neighbours:
    """One per node. It does nothing at all when the node has its store for itself."""

    def __init__(self, parts: Parts, dispatcher: Dispatcher, reaper: Reaper, paused: set[str]) -> None:
        self._parts = parts
        self._dispatcher = dispatcher
        self._reaper = reaper
        self._paused = paused
        self._rereads: dict[str, Reread] = {QUEUES: self.reread_paused}
        self._words: dict[str, Callable[[], None]] = {}
        self._heard: set[str] = set()
        self._canceled: set[str] = set()
        self._pausing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    def on(self, rereads: Mapping[str, Reread]) -> None:
        """Read these topics again when another node has changed them."""
        self._rereads.update(rereads)

    def on_word(self, words: Mapping[str, Callable[[], None]]) -> None:
        """Call these as soon as another node tells of their topic; they read nothing and may be called often."""
        self._words.update(words)

    async def start(self) -> None:
        parts = self._parts
        if parts.ringer.alone:
            return
        parts.traffic.filling = self._wake.set
        await parts.ringer.bell.start(self._hear)
        parts.ringer.start()
        spawn = asyncio.get_running_loop().create_task
        self._loops = [spawn(self._run()), spawn(parts.hub.run(parts.timing.look_seconds))]

    async def stop(self) -> None:
        """Tell what is to be told yet, and hear nothing more."""
        if self._parts.ringer.alone:
            return
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._parts.ringer.stop()
        await self._parts.ringer.bell.stop()

    async def set_paused(self, queue: str, paused: bool) -> None:
        async with self._pausing:
            await self._parts.queues.set_paused(queue, paused)
            (self._paused.add if paused else self._paused.discard)(queue)
        self._parts.ringer.topic(QUEUES)
        if not paused:
            self._dispatcher.look_everywhere()

    async def reread_paused(self) -> None:
        async with self._pausing:  # what was read before this node changed it must not undo that
            paused = await self._parts.queues.paused()
            resumed = self._paused - paused
            self._paused.clear()
            self._paused.update(paused)
        if resumed:
            self._dispatcher.look_everywhere()

    def _hear(self, ring: Ring) -> None:
        for queue, job in ring.ready:
            self._dispatcher.ready(queue, job)
        if ring.due_at is not None and (self._dispatcher.has_workers() or self._dispatcher.lends):
            self._reaper.due_later(ring.due_at)
        for task_id in ring.changed:
            self._parts.hub.look(task_id)
        self._canceled |= ring.stopped
        for topic in self._words.keys() if ring.missed else ring.topics & self._words.keys():
            self._words[topic]()
        self._heard |= ring.topics - self._words.keys()
        if ring.missed:
            self._heard.update(self._rereads)
            self._dispatcher.look_everywhere()
            self._parts.hub.look_everywhere()
        if self._heard or self._canceled:
            self._wake.set()

    async def _run(self) -> None:
        round_number = 0
        while True:
            await asyncio.sleep(PAUSE_SECONDS)  # whatever is heard, there are not more rounds than this
            if (round_number := round_number + 1) % REREAD_ROUNDS == 0:
                self._heard.update(self._rereads)
            self._wake.clear()
            await repeatable("neighbours", self._look)
            try:
                async with asyncio.timeout(self._parts.timing.count_seconds * (0.8 + 0.2 * self._parts.chance())):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        canceled, self._canceled = self._canceled, set()
        if canceled:
            await self._dispatcher.stop_canceled(canceled)
        heard, self._heard = self._heard, set()
        for topic in heard & self._rereads.keys():
            await self._rereads[topic]()
        await count_queues(self._parts)
