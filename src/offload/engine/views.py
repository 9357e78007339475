"""Tasks, queues and the node as people see them: what is stored, and what is only known now."""

from collections.abc import AsyncIterator, Set

import msgspec

from offload.core.admission import eta_seconds, poll_seconds
from offload.core.errors import QueueDoesNotExist
from offload.core.task import Record, Scope, Seconds, Status, Task
from offload.engine.parts import Parts, count_queues
from offload.engine.traffic import QueueView

POSITION_MAX = 10_000
"""Counting further would cost more than the answer is worth: the position is left out."""


class View(Record, frozen=True, kw_only=True):
    """A task, and what is only known now."""

    task: Task
    position: int | None = None
    """How many tasks of its queue run before it."""
    eta_seconds: Seconds | None = None
    """Until its end."""
    poll_seconds: int = 1
    """When to ask again."""


class Views:
    def __init__(self, parts: Parts, paused: Set[str]) -> None:
        self._parts = parts
        self._paused = paused

    async def of(self, task: Task) -> View:
        """Return a view with the place in line; one bounded count in the store."""
        if task.status is not Status.QUEUED or self._is_later(task):
            return self.at_once(task)
        position = await self._parts.queues.position(task, most=POSITION_MAX)
        return self._view(task, position, position)

    def at_once(self, task: Task) -> View:
        """Return a view without asking the store: no place in line, and an ETA that assumes the end of the line."""
        if task.status is Status.QUEUED and not self._is_later(task):
            return self._view(task, None, self._parts.traffic.waiting(task.queue))
        return self._view(task, None, None)

    def known_queue(self, queue: str) -> None:
        """Raise QueueDoesNotExist."""
        if queue not in self._parts.catalog.queues:
            raise QueueDoesNotExist(queue, self._parts.catalog.queues)

    async def queues(self) -> list[QueueView]:
        await count_queues(self._parts)
        return [self._queue(name) for name in self._parts.catalog.queues]

    async def queue(self, name: str) -> QueueView:
        self.known_queue(name)
        await count_queues(self._parts)
        return self._queue(name)

    async def logs(self, scope: Scope, task_id: str) -> AsyncIterator[str]:
        """Yield what the attempts printed and logged, each attempt under a line with its number."""
        after, attempt, line_open = 0, 0, False
        while events := await self._parts.store.events(scope, task_id, after=after, limit=500):
            after = events[-1].n
            for event in events:
                if event.kind != "log":
                    continue
                if event.attempt != attempt:
                    attempt = event.attempt
                    yield f"{chr(10) if line_open else ''}--- attempt {attempt} ---\n"
                text = msgspec.json.decode(event.data, type=str)
                line_open = not text.endswith("\n")
                yield text

    def _queue(self, name: str) -> QueueView:
        jobs = tuple(job.name for job in self._parts.catalog.of_queue(name))
        return self._parts.traffic.view(name, paused=name in self._paused, jobs=jobs)

    def _is_later(self, task: Task) -> bool:
        assert task.run_at is not None
        return task.run_at > self._parts.clock.now()

    def _view(self, task: Task, position: int | None, ahead: int | None) -> View:
        now = self._parts.clock.now()
        eta = None if task.final else self._eta(task, ahead, now)
        waited = now - (task.started_at or task.queued_at or task.created_at)
        return View(task=task, position=position, eta_seconds=eta, poll_seconds=poll_seconds(eta, waited))

    def _eta(self, task: Task, ahead: int | None, now: Seconds) -> Seconds | None:
        mean = self._parts.traffic.mean_run_seconds(task.job)
        if task.status is Status.RUNNING and task.started_at is not None and mean is not None:
            left = task.started_at + mean - now
            return left if left > 0 else None  # longer than usual: no honest estimate
        if task.status is not Status.QUEUED or task.queue in self._paused or mean is None:
            return None
        if task.run_at is not None and task.run_at > now:
            return task.run_at - now + mean
        if ahead is None:
            return None
        before = 0.0 if ahead == 0 else eta_seconds(ahead, self._parts.traffic.drain_per_second(task.queue))
        return None if before is None else before + mean
