"""Gathers what other nodes may want to know, and rings the bell a few times a second at most."""

import asyncio
import logging

from offload.core.ring import NOTHING, Ring
from offload.core.task import Seconds
from offload.ports.bell import Bell

log = logging.getLogger("offload.bell")

PAUSE_SECONDS = 0.01
"""Between two rings: under load one message then tells of many tasks."""
CHANGED_MAX = 20_000
"""Tasks that wait to be told of while the bell cannot be rung; what comes beyond is found by those who look."""


class Ringer:
    """One per node. On a node that has its store for itself every word is one comparison, and nothing is kept."""

    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self.alone = bell.alone
        self._wake = asyncio.Event()
        self._ready: set[tuple[str, str]] = set()
        self._changed: set[str] = set()
        self._stopped: set[str] = set()
        self._topics: set[str] = set()
        self._due_at: Seconds | None = None
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self.alone:
            self._loop = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Tell what is not told yet."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            await self._ring()

    def changed(self, task_id: str) -> None:
        """Somebody may watch this task."""
        if not self.alone and len(self._changed) < CHANGED_MAX:
            self._changed.add(task_id)
            self._wake.set()

    def ready(self, queue: str, job: str) -> None:
        """Tasks wait that this node has no room for."""
        if not self.alone:
            self._ready.add((queue, job))
            self._wake.set()

    def due(self, at: Seconds) -> None:
        """A task has been put off until then."""
        if not self.alone:
            self._due_at = at if self._due_at is None else min(at, self._due_at)
            self._wake.set()

    def stopped(self, task_id: str) -> None:
        """The attempt of another node is to stop."""
        if not self.alone:
            self._stopped.add(task_id)
            self._wake.set()

    def topic(self, name: str) -> None:
        """What nodes keep in memory is to be read again."""
        if not self.alone:
            self._topics.add(name)
            self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._ring()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ring(self) -> None:
        ring = Ring(
            ready=frozenset(self._ready),
            due_at=self._due_at,
            changed=frozenset(self._changed),
            stopped=frozenset(self._stopped),
            topics=frozenset(self._topics),
        )
        if ring == NOTHING:
            return
        for told in (self._ready, self._changed, self._stopped, self._topics):
            told.clear()
        self._due_at = None
        try:
            await self.bell.ring(ring)
        except Exception:  # a bell does not raise; one that does is no reason to tell nobody any more
            log.exception("the bell failed; what it was to tell is found by looking")
