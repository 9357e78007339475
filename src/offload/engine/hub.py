"""Brings committed changes to those who wait for them: the newest state to waiters, every event to streams."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from offload.core.errors import TryAgain
from offload.core.task import ALL, Seconds, Task, TaskEvent
from offload.engine.loops import Pauses
from offload.engine.ringer import Ringer
from offload.ports import TaskStore

log = logging.getLogger("offload.hub")

BEHIND_MAX = 1_000
"""Events that may wait for one stream's reader; one that falls further behind is dropped."""
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.05, 2.0
"""Between two tries to read what is watched; the later ones are longer."""
LOOKS_PER_SECOND = 200
"""A round of looking takes longer when more are watched: it must not become the store's main work."""


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


class Subscriber:
    """One stream's view of one task: every event in order, until its reader falls too far behind."""

    def __init__(self) -> None:
        self._arrived = asyncio.Event()
        self._events: deque[TaskEvent] = deque()
        self.is_dropped = False

    def put(self, events: list[TaskEvent]) -> None:
        if len(self._events) + len(events) > BEHIND_MAX:
            self.is_dropped = True
            self._events.clear()
        elif not self.is_dropped:
            self._events.extend(events)
        self._arrived.set()

    def wake(self) -> None:
        self._arrived.set()

    async def next(self, timeout_seconds: Seconds) -> list[TaskEvent]:
        """Return what arrived since the last call, perhaps nothing when woken or dropped. Raise TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            await self._arrived.wait()
        self._arrived.clear()
        events = list(self._events)
        self._events.clear()
        return events


class _Topic:
    """Who watches one task."""

    __slots__ = ("is_reading", "is_stale", "last_n", "subscribers", "watchers")

    def __init__(self) -> None:
        self.watchers: set[Watcher] = set()
        self.subscribers: set[Subscriber] = set()
        self.last_n = 0
        """The newest event that was given to the subscribers."""
        self.is_reading = False
        self.is_stale = False


class Hub:
    """One store read per change serves all who watch the task; the other nodes are told as well."""

    def __init__(self, store: TaskStore, ringer: Ringer) -> None:
        self._store = store
        self._ringer = ringer
        self._hurry = asyncio.Event()
        self._topics: dict[str, _Topic] = {}
        self._running: set[asyncio.Task[None]] = set()

    @contextmanager
    def watch(self, task_id: str) -> Iterator[Watcher]:
        watcher, topic = Watcher(), self._topic(task_id)
        topic.watchers.add(watcher)
        try:
            yield watcher
        finally:
            topic.watchers.discard(watcher)
            self._leave(task_id, topic)

    @contextmanager
    def subscribe(self, task_id: str, last_n: int) -> Iterator[Subscriber]:
        """Give every event above some number that is at most `last_n`, the newest that the caller knows to exist."""
        subscriber, topic = Subscriber(), self._topic(task_id)
        topic.last_n = last_n if not topic.subscribers else min(topic.last_n, last_n)
        topic.subscribers.add(subscriber)
        self.look(task_id)
        try:
            yield subscriber
        finally:
            topic.subscribers.discard(subscriber)
            self._leave(task_id, topic)

    def watchers(self) -> int:
        return sum(len(topic.watchers) + len(topic.subscribers) for topic in self._topics.values())

    def wake_all(self) -> None:
        """Have every stream look up: the node has stopped."""
        for topic in self._topics.values():
            for subscriber in topic.subscribers:
                subscriber.wake()

    def publish(self, task_id: str) -> None:
        """Tell that a change of this task, made here, is durable."""
        self._ringer.changed(task_id)
        self.look(task_id)

    def look_everywhere(self) -> None:
        """Look at every watched task soon: changes may have been missed."""
        self._hurry.set()

    async def run(self, pause_seconds: Seconds) -> None:
        """Look at every watched task now and then: what another node did may not have been heard."""
        while True:
            self._hurry.clear()
            for task_id in list(self._topics):
                self.look(task_id)
                await asyncio.sleep(1 / LOOKS_PER_SECOND)
            try:
                async with asyncio.timeout(pause_seconds):
                    await self._hurry.wait()
            except TimeoutError:
                continue

    def look(self, task_id: str) -> None:
        """Have those who watch this task see what the store has of it."""
        topic = self._topics.get(task_id)
        if topic is None:
            return
        topic.is_stale = True
        if topic.is_reading:
            return
        topic.is_reading = True
        reading = asyncio.get_running_loop().create_task(self._spread(task_id, topic))
        self._running.add(reading)
        reading.add_done_callback(self._running.discard)

    def _topic(self, task_id: str) -> _Topic:
        return self._topics.setdefault(task_id, _Topic())

    def _leave(self, task_id: str, topic: _Topic) -> None:
        if not topic.watchers and not topic.subscribers and self._topics.get(task_id) is topic:
            del self._topics[task_id]

    async def _spread(self, task_id: str, topic: _Topic) -> None:
        pauses = Pauses(PAUSE_SECONDS, PAUSE_SECONDS_MAX)
        try:
            while topic.is_stale:
                topic.is_stale = False
                try:
                    await self._spread_once(task_id, topic)
                    pauses.reset()
                except Exception as error:  # it may have been the last change: nobody else would tell of it
                    unforeseen = not isinstance(error, TryAgain)
                    said = "a watched task cannot be read, trying again: %s"
                    log.warning(said, error, extra={"task": task_id}, exc_info=unforeseen)
                    topic.is_stale = True
                    await asyncio.sleep(pauses.next())
        finally:
            topic.is_reading = False

    async def _spread_once(self, task_id: str, topic: _Topic) -> None:
        if topic.watchers:
            task = await self._store.get(ALL, task_id)
            for watcher in topic.watchers:
                watcher.put(task)
        if topic.subscribers:
            await self._spread_events(task_id, topic)

    async def _spread_events(self, task_id: str, topic: _Topic) -> None:
        while topic.subscribers and (events := await self._store.events(ALL, task_id, after=topic.last_n)):
            topic.last_n = events[-1].n
            for subscriber in topic.subscribers:
                subscriber.put(events)
