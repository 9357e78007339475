"""Counts what each queue sees in each ten seconds and keeps an hour of it, through restarts."""

import asyncio
import math
from collections import Counter
from dataclasses import dataclass

from offload.core.history import KEPT_SECONDS, STEP_SECONDS, Sample, merged
from offload.core.task import Seconds, Status
from offload.engine.parts import Parts
from offload.engine.repeating import repeatable


@dataclass(slots=True)
class _Seen:
    """Counters of one queue as they were at the last step."""

    arrivals: int = 0
    done: int = 0
    failed: int = 0
    was_quiet: bool = True


class Pulse:
    """One small write every ten seconds while something happens; none while nothing does."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.history
        self._seen: dict[str, _Seen] = {}
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Write the step that has begun."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            await repeatable("pulse", self.step)

    async def step(self) -> None:
        """Write what was since the last step."""
        at = math.ceil(self._parts.clock.now() / STEP_SECONDS - 0.01) * STEP_SECONDS
        samples = [sample for sample in self._samples(at) if self._is_news(sample)]
        if samples:
            await self._store.add(samples, forget_before=at - KEPT_SECONDS)

    async def history(self) -> list[Sample]:
        """Return the last hour of all nodes, one sample for each queue and step in which something was."""
        return merged(await self._store.since(self._parts.clock.now() - KEPT_SECONDS))

    async def _run(self) -> None:
        while True:
            now = self._parts.clock.now()
            await asyncio.sleep(_next_step(now) - now + 0.001)
            await repeatable("pulse", self.step)

    def _samples(self, at: Seconds) -> list[Sample]:
        parts = self._parts
        arrivals, done, failed = Counter[str](), Counter[str](), Counter[str]()
        queue_of = {job.name: job.queue for job in parts.catalog.jobs.values()}
        for job, number in parts.stats.submitted.items():
            arrivals[queue_of.get(job, "")] += number
        for (job, status, _), number in parts.stats.finished.items():
            (done if status == Status.DONE else failed)[queue_of.get(job, "")] += number
        return [
            self._sample(at, queue, _Seen(arrivals=arrivals[queue], done=done[queue], failed=failed[queue]))
            for queue in parts.catalog.queues
        ]

    def _sample(self, at: Seconds, queue: str, now: _Seen) -> Sample:
        before = self._seen.get(queue, _Seen())
        now.was_quiet = before.was_quiet
        self._seen[queue] = now
        depth = self._parts.traffic.depth(queue)
        return Sample(
            at=at,
            node=self._parts.node,
            queue=queue,
            arrivals=now.arrivals - before.arrivals,
            done=now.done - before.done,
            failed=now.failed - before.failed,
            queued=depth.queued,
            running=depth.running,
        )

    def _is_news(self, sample: Sample) -> bool:
        """A quiet step is told once, so that a chart comes down; those after it say nothing new."""
        seen = self._seen[sample.queue]
        was_quiet, seen.was_quiet = seen.was_quiet, sample.is_quiet
        return not (was_quiet and sample.is_quiet)


def _next_step(now: Seconds) -> Seconds:
    return (math.floor(now / STEP_SECONDS) + 1) * STEP_SECONDS
