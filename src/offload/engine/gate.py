"""Lets tasks in, or says no before any work is done for them."""

import asyncio
import logging

from offload.core.errors import DiskFull, Stopping
from offload.engine.repeating import repeatable
from offload.engine.traffic import Place, Traffic
from offload.ports import Blobs

log = logging.getLogger("offload.gate")

LOOK_SECONDS = 1.0


class Gate:
    """Closed while the disk is nearly full and after the node stopped; else each queue's capacity decides."""

    def __init__(self, traffic: Traffic, blobs: Blobs, *, disk_free_min_bytes: int) -> None:
        self._traffic = traffic
        self._blobs = blobs
        self._disk_free_min_bytes = disk_free_min_bytes
        self._free_bytes: int | None = None
        self._closed = False

    @property
    def disk_is_full(self) -> bool:
        return self._free_bytes is not None and self._free_bytes < self._disk_free_min_bytes

    def admit(self, queue: str, *, tasks: int, body_bytes: int) -> Place:
        """Reserve places. Raise QueueFull, DiskFull, Stopping."""
        self.check_room(body_bytes)
        return self._traffic.admit(queue, tasks=tasks, body_bytes=body_bytes)

    def check_room(self, body_bytes: int) -> None:
        """Raise DiskFull or Stopping when nothing of this size can be taken, for whatever queue."""
        if self._closed:
            raise Stopping("this server is stopping", retry_seconds=1)
        if self._free_bytes is not None and self._free_bytes - body_bytes < self._disk_free_min_bytes:
            raise DiskFull(f"the disk has {self._free_bytes:,} bytes left, too few to take more", retry_seconds=10)

    def free_place(self) -> Place:
        """Return a place that takes no room: for a task whose queue nobody serves any more."""
        return self._traffic.no_place()

    def close(self) -> None:
        self._closed = True

    async def look(self) -> None:
        was_full = self.disk_is_full
        self._free_bytes = await self._blobs.free_bytes()
        if self.disk_is_full and not was_full:
            log.warning("the disk is nearly full (%s bytes left): submits are refused", self._free_bytes)

    async def run(self) -> None:
        while True:
            await repeatable("gate", self.look)
            await asyncio.sleep(LOOK_SECONDS)
