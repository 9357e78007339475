"""One seed, one run: random clients, workers that fail in every way, a clock that leaps; then the invariants."""

import asyncio
import json
import random
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from offload import Retry, job
from offload.core.catalog import Catalog
from offload.core.errors import OffloadError
from offload.core.outcome import Failed, Outcome, Stopped, Succeeded, Unrun
from offload.core.task import ALL, FINAL, Reason, Status, TaskError
from offload.ports import TaskStore
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import Kit, kit


@job
def quick() -> int:
    return 1


@job(queue="other", retry=Retry(max_attempts=5, first_seconds=3.0))
def stubborn() -> int:
    return 1


@job(retry=Retry(max_attempts=1))
def once() -> int:
    return 1


CATALOG = Catalog.of_jobs(quick, stubborn, once)


@dataclass
class History:
    """What clients were told, to be held against what is recorded."""

    accepted: list[str] = field(default_factory=list)
    canceled: set[str] = field(default_factory=set)
    revived: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    final: dict[str, Status] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


class HesitantStore:
    """A store that lets others go first, before and after every call: what can cross, will."""

    def __init__(self, store: MemoryStore, chance: random.Random) -> None:
        self._store, self._chance = store, chance

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def hesitant(*args: Any, **given: Any) -> Any:
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)
            answer = await method(*args, **given)
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)
            return answer

        return hesitant


async def simulate(seed: int, steps: int, root: Path) -> History:
    """Run `steps` random steps, let everything come to rest, and check the invariants."""
    chance, history = random.Random(seed), History()

    def hesitant(memory: MemoryStore) -> TaskStore:
        return cast(TaskStore, HesitantStore(memory, chance))

    async with kit(root, CATALOG, places=chance.choice([1, 2, 5]), wrap_store=hesitant) as it:
        it.workers.cancels_at_once = chance.random() < 0.5
        clients: set[asyncio.Task[None]] = set()
        for _ in range(steps):
            clients.add(asyncio.create_task(_step(it, chance, history)))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        await _rest(it, clients)
        await _check(it, history)
    return history


async def _step(it: Kit, chance: random.Random, history: History) -> None:
    kinds = {_submit: 5, _end: 6, _cancel: 2, _revive: 1, _delete: 1, _leap: 2, _pause: 1, _run: 1}
    kind = chance.choices(list(kinds), list(kinds.values()))[0]
    history.counts[kind.__name__] = history.counts.get(kind.__name__, 0) + 1
    try:
        await kind(it, chance, history)
    except OffloadError as refused:
        history.counts[refused.code] = history.counts.get(refused.code, 0) + 1


async def _submit(it: Kit, chance: random.Random, history: History) -> None:
    options: dict[str, object] = {"run": chance.random() < 0.9}
    if chance.random() < 0.2:
        options["delay_seconds"] = chance.uniform(0, 30)
    if chance.random() < 0.2:
        options["deadline_seconds"] = chance.uniform(1, 60)
    if chance.random() < 0.3:
        options["priority"] = chance.randint(-5, 5)
    name = chance.choice(list(CATALOG.jobs))
    history.accepted.append(
        (await it.submit(name, task_id=str(uuid.UUID(int=chance.getrandbits(128), version=4)), **options)).id
    )


async def _end(it: Kit, chance: random.Random, history: History) -> None:
    if it.workers.running:
        it.workers.end(chance.choice(list(it.workers.running)), _outcome(chance))


def _outcome(chance: random.Random) -> Outcome:
    error = TaskError(type="ValueError", message="no")
    outcomes: list[Outcome] = [
        Succeeded(json=b"1"),
        Succeeded(json=b"1"),
        Failed(reason=Reason.ERROR, error=error),
        Failed(reason=Reason.REJECTED, error=error, retry=False),
        Failed(reason=Reason.ERROR, error=error, retry_after_seconds=chance.uniform(0, 9)),
        Failed(reason=Reason.WORKER_LOST, error=error, worker_died=True),
        Stopped(),
        Unrun(),
    ]
    return chance.choice(outcomes)


async def _cancel(it: Kit, chance: random.Random, history: History) -> None:
    if history.accepted:
        task = await it.engine.cancel(ALL, chance.choice(history.accepted))
        if task.status is Status.CANCELED:
            history.canceled.add(task.id)


async def _revive(it: Kit, chance: random.Random, history: History) -> None:
    if history.accepted:
        chosen = chance.choice(history.accepted)
        history.revived.add(chosen)
        await it.engine.revive(ALL, chosen)


async def _run(it: Kit, chance: random.Random, history: History) -> None:
    if history.accepted:
        await it.engine.run(ALL, chance.choice(history.accepted))


async def _delete(it: Kit, chance: random.Random, history: History) -> None:
    if history.accepted:
        history.deleted.add((await it.engine.delete(ALL, chance.choice(history.accepted))).id)


async def _leap(it: Kit, chance: random.Random, history: History) -> None:
    it.clock.at += chance.choice([0.1, 1.0, 7.0, 40.0])


async def _pause(it: Kit, chance: random.Random, history: History) -> None:
    await it.engine.set_paused(chance.choice(CATALOG.queues), chance.random() < 0.5)


async def _rest(it: Kit, clients: set[asyncio.Task[None]]) -> None:
    """Stop the troubles and let all attempts succeed until nothing moves."""
    async with asyncio.timeout(30):
        while any(not client.done() for client in clients):
            it.clock.at += 10.0
            for task_id in list(it.workers.running):
                it.workers.end(task_id, Succeeded(json=b"1"))
            await asyncio.sleep(0.001)
        for client in clients:
            client.result()
        for queue in CATALOG.queues:
            await it.engine.set_paused(queue, False)
        while any(depth.queued or depth.running for depth in await it.store.depths()):
            it.clock.at += 10.0
            for task_id in list(it.workers.running):
                it.workers.end(task_id, Succeeded(json=b"1"))
            await asyncio.sleep(0.001)


async def _check(it: Kit, history: History) -> None:
    for task_id in history.accepted:
        task = await it.get(task_id)  # no lost accept
        assert task.status in FINAL or task.status is Status.CREATED, task
        assert task.attempt <= task.max_attempts or task.losses, task
        assert task_id not in history.canceled - history.revived or task.status in (Status.CANCELED, Status.DELETED), (
            task
        )
        assert task_id not in history.deleted or task.status is Status.DELETED, task
        events = await it.engine.events(ALL, task_id)
        assert [event.n for event in events] == list(range(1, len(events) + 1)), task_id
        told = [json.loads(event.data)["status"] for event in events if event.kind == "status"]
        assert told[-1] == task.status, (task_id, told)
        _check_path(told)
        history.final[task_id] = task.status
    queues = await it.engine.queues()
    assert all(queue.tasks == 0 and queue.bytes == 0 for queue in queues), queues
    assert not it.workers.running


def _check_path(told: list[str]) -> None:
    """A final status is left only by a revival, and DELETED never."""
    for before, after in zip(told, told[1:], strict=False):
        if before in ("FAILED", "CANCELED"):
            assert after in ("QUEUED", "DELETED"), told
        assert before != "DELETED", told
        assert before != "DONE" or after == "DELETED", told
