"""A task's events as one stream: what is stored first, then what happens, without a gap or a repeat."""

from collections.abc import AsyncIterator

import msgspec

from offload.core.errors import TaskDoesNotExist
from offload.core.task import FINAL, Scope, Seconds, Task, TaskEvent
from offload.engine.parts import Parts

PAGE = 500


class StatusOf(msgspec.Struct):
    status: str


class Streams:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ended = False

    def end(self) -> None:
        """End every stream: each attempt of this node has ended or was given back."""
        self._ended = True
        self._parts.hub.wake_all()

    async def follow(
        self, scope: Scope, task_id: str, *, after: int, beat_seconds: Seconds
    ) -> AsyncIterator[list[TaskEvent]]:
        """Yield events numbered above `after` until the final status; an empty list is a sign of life.

        Ends early when this node has stopped or the reader falls too far behind: it can come back with its last number.
        Raise TaskDoesNotExist.
        """
        task = await self._parts.store.get(scope, task_id)
        if task is None:
            raise TaskDoesNotExist(task_id)
        with self._parts.hub.subscribe(task_id, task.event_count) as subscriber:
            while stored := await self._parts.store.events(scope, task_id, after=after, limit=PAGE):
                after = stored[-1].n
                yield stored
            if _ended(await self._parts.store.get(scope, task_id), after):
                return
            while not self._ended and not subscriber.is_dropped:
                try:
                    events = await subscriber.next(beat_seconds)
                except TimeoutError:
                    yield []
                    continue
                fresh = [event for event in events if event.n > after]
                if fresh:
                    after = fresh[-1].n
                    yield fresh
                if any(_is_end(event) for event in fresh) and _ended(
                    await self._parts.store.get(scope, task_id), after
                ):
                    return


def _is_end(event: TaskEvent) -> bool:
    return event.kind == "status" and msgspec.json.decode(event.data, type=StatusOf).status in FINAL


def _ended(task: Task | None, after: int) -> bool:
    """Tell whether a task is final and all of its events were given; a revived one goes on."""
    return task is None or (task.final and task.event_count <= after)
