"""Watches what worker processes and their descendants hold, while attempts run under a memory limit."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import psutil

log = logging.getLogger("offload.workers")

LOOK_SECONDS = 0.5


class MemoryWatch:
    """Looks in a thread of its own, and only while there is something to look at."""

    def __init__(self, limited: Callable[[], dict[int, int]], over: Callable[[int, int], None]) -> None:
        self._limited = limited
        self._over = over
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="offload-memory")
        self._looking: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """There may be something to watch."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _look(self) -> None:
        """Compare until nothing with a limit runs any more. `limited` gives process ids with their limits."""
        loop = asyncio.get_running_loop()
        while limits := self._limited():
            try:
                held = await loop.run_in_executor(self._thread, held_bytes, list(limits))
            except Exception as error:  # no descriptor or thread left: that passes, and the limits hold on
                log.warning("cannot see what memory the workers hold, looking again soon: %s", error)
                held = {}
            for pid, limit in self._limited().items():
                if held.get(pid, 0) > max(limit, limits.get(pid, limit)):  # it may have been another attempt's
                    self._over(pid, held[pid])
            await asyncio.sleep(LOOK_SECONDS)
        self._looking = None


def held_bytes(pids: Iterable[int]) -> dict[int, int]:
    """Return the resident memory of each process with all its descendants."""
    found = {}
    for pid in pids:
        try:
            root = psutil.Process(pid)
            family = [root, *root.children(recursive=True)]
        except psutil.Error:
            continue
        found[pid] = sum(_resident(each) for each in family)
    return found


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
