"""Brings committed changes to those who wait for them; each watcher keeps one value, the newest."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from offload.core.task import Seconds, Task

Read = Callable[[str], Awaitable[Task | None]]


class Watcher:
    """One waiter's view of one task: it never falls behind, because a newer state replaces an older."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._task: Task | None = None

    def put(self, task: Task | None) -> None:
        self._task = task
        self._changed.set()

    async def next(self, timeout_seconds: Seconds) -> Task | None:
        """Return the newest state once there is one that was not returned yet. Raise TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            await self._changed.wait()
        self._changed.clear()
        return self._task


class Hub:
    """Who watches which task. One store read per change serves all its watchers."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._watchers: dict[str, set[Watcher]] = {}
        self._reading: set[str] = set()
        self._again: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()

    @contextmanager
    def watch(self, task_id: str) -> Iterator[Watcher]:
        watcher = Watcher()
        self._watchers.setdefault(task_id, set()).add(watcher)
        try:
            yield watcher
        finally:
            watchers = self._watchers[task_id]
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[task_id]

    def watchers(self) -> int:
        return sum(map(len, self._watchers.values()))

    def publish(self, task_id: str) -> None:
        """Tell that a change of this task is durable."""
        if task_id not in self._watchers:
            return
        if task_id in self._reading:
            self._again.add(task_id)
            return
        self._reading.add(task_id)
        reading = asyncio.get_running_loop().create_task(self._spread(task_id))
        self._running.add(reading)
        reading.add_done_callback(self._running.discard)

    async def _spread(self, task_id: str) -> None:
        try:
            while True:
                self._again.discard(task_id)
                task = await self._read(task_id)
                for watcher in self._watchers.get(task_id, ()):
                    watcher.put(task)
                if task_id not in self._again:
                    return
        finally:
            self._reading.discard(task_id)
