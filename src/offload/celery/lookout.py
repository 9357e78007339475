"""Looks which of Celery's workers are there, and what they have: what nobody has, for long enough, is lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from offload.celery.attempt import Attempt
from offload.celery.jobs import CeleryTask
from offload.celery.wire import Away, Wire, Worker
from offload.core.task import Seconds

log = logging.getLogger("offload.celery")

LOOK_SECONDS = 2.0
"""Between two looks while something is handed over."""
WORKERS_SECONDS = 10.0
"""How old what is known of the workers may be."""
ABSENT_SECONDS = 30.0
"""A worker that does not answer for so long is gone."""
ROUNDS_MIN = 3

T = TypeVar("T")
Lost = Callable[[Attempt, str], Awaitable[None]]


class Lookout:
    """Runs beside the polling for results: asking workers takes a second each time."""

    def __init__(
        self,
        wire: Wire,
        attempts: Mapping[str, Attempt],
        lost_seconds: Seconds,
        lost: Lost,
        room_freed: Callable[[], None],
    ) -> None:
        self._wire = wire
        self._attempts = attempts
        self._lost_seconds = lost_seconds
        self._lost = lost
        self._room_freed = room_freed
        self._seen: dict[str, tuple[Worker, Seconds]] = {}
        self._looked_at: Seconds | None = None
        self._misses: dict[int, int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="offload-celery-look")
        self._loop: asyncio.Task[None] | None = None

    @property
    def workers(self) -> Sequence[Worker]:
        """Return those that answered lately."""
        return [worker for worker, _ in self._seen.values()]

    def places(self, queue: str) -> int:
        """Return how many messages of a queue its workers run at a time."""
        return sum(worker.places for worker in self.workers if queue in worker.queues)

    async def start(self) -> None:
        try:
            await self._look_at_workers()
        except Away as error:
            log.warning("Celery's broker is away: %s", error)
        if not self.workers:
            log.warning("no Celery worker answers; tasks wait until one does")
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except Away as error:
                log.info("Celery's broker is away: %s", error)
            except Exception:
                log.exception("looking for Celery's workers failed; trying again")

    async def _look(self) -> None:
        now = _now()
        if self._looked_at is None or now - self._looked_at > WORKERS_SECONDS or not self.workers:
            await self._look_at_workers()
        out = {one.message_id: one for one in self._attempts.values() if one.message_id}
        if not out:
            self._misses.clear()
            return
        held = await self._ask(partial(self._wire.held, list(out), len(self.workers)))
        missing = []
        for message_id, one in out.items():
            one.holder = held.get(message_id)
            if one.holder is not None:
                one.begun, one.missing_since = True, None
                self._misses.pop(id(one), None)
            else:
                missing.append(one)
        if missing and all(worker.answers_always for worker in self.workers):
            await self._judge(missing)

    async def _judge(self, missing: Sequence[Attempt]) -> None:
        """Count how long messages have been nobody's: neither a worker's nor, as far as can be told, the broker's."""
        depths: dict[str, int] = {}
        for one in missing:
            target = one.job.target
            assert isinstance(target, CeleryTask)
            if target.queue not in depths:
                depths[target.queue] = await self._ask(partial(self._wire.waiting, target.queue))
            if depths[target.queue] and (not one.begun or target.repeats):
                one.missing_since = None  # it may be among those
                self._misses.pop(id(one), None)
                continue
            now = _now()
            one.missing_since = one.missing_since or now
            self._misses[id(one)] = self._misses.get(id(one), 0) + 1
            if now - one.missing_since >= self._lost_seconds and self._misses[id(one)] >= ROUNDS_MIN:
                self._misses.pop(id(one), None)
                await self._lost(one, _why(one))

    async def _look_at_workers(self) -> None:
        found = await self._ask(self._wire.workers)
        now = _now()
        before = {name: worker for name, (worker, _) in self._seen.items()}
        self._seen.update({worker.name: (worker, now) for worker in found})
        self._seen = {name: entry for name, entry in self._seen.items() if now - entry[1] < ABSENT_SECONDS}
        self._looked_at = now
        after = {name: worker for name, (worker, _) in self._seen.items()}
        if after != before:
            names = ", ".join(f"{worker.name} ({worker.places})" for worker in after.values())
            log.info("Celery's workers: %s", names or "none")
            self._room_freed()

    async def _ask(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _why(one: Attempt) -> str:
    if one.begun:
        return (
            "no Celery worker has it any more and there is no result: its worker died, or the result was deleted unread"
        )
    return "no Celery worker has it, it does not wait in the broker, and there is no result: one of them has lost it"


def _now() -> Seconds:
    return asyncio.get_running_loop().time()
