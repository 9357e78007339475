"""One seed, one run: random clients, workers that fail in every way, nodes that freeze, a clock that leaps."""

import asyncio
import json
import random
import uuid
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from offload import Retry, job
from offload.bells import MemoryBell, Tower
from offload.core.catalog import Catalog
from offload.core.errors import OffloadError
from offload.core.outcome import Failed, Outcome, Stopped, Succeeded, Unrun
from offload.core.ring import Ring
from offload.core.task import ALL, FINAL, Reason, Status, Task, TaskError
from offload.engine.parts import Timing
from offload.ports import TaskStore
from offload.ports.bell import Bell
from offload.ports.schedules import ScheduleStore
from offload.stores.memory import MemoryStore
from offload.stores.memory_schedules import MemorySchedules
from tests.simulation.recurring import Recurring
from tests.unit.engine.kit import HandClock, Kit, Together, kit


@job
def quick() -> int:
    return 1


@job(queue="other", retry=Retry(max_attempts=5, first_seconds=3.0))
def stubborn() -> int:
    return 1


@job(retry=Retry(max_attempts=1))
def once() -> int:
    return 1


@job(every="40s", catch_up="all")
def tick() -> int:
    return 1


CATALOG = Catalog.of_jobs(quick, stubborn, once, tick)


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
    """A store that lets others go first, before and after every call: what can cross, will. A frozen one waits."""

    def __init__(self, store: object, chance: random.Random, thawed: asyncio.Event) -> None:
        self._store, self._chance = store, chance
        self.thawed = thawed

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def hesitant(*args: Any, **given: Any) -> Any:
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)
            await self.thawed.wait()
            answer = await method(*args, **given)
            for _ in range(self._chance.randrange(4)):
                await asyncio.sleep(0)
            await self.thawed.wait()
            return answer

        return hesitant


class LossyBell(MemoryBell):
    """Loses a third of what is rung, tells some of it twice and some of it late."""

    def __init__(self, tower: Tower, chance: random.Random) -> None:
        super().__init__(tower)
        self._chance = chance

    async def ring(self, ring: Ring) -> None:
        loop = asyncio.get_running_loop()
        for bell, hear in self._tower.hearers.items():
            if bell is not self:
                for _ in range(self._chance.randrange(3)):
                    loop.call_later(self._chance.choice([0.0, 0.001, 0.02]), hear, ring)


class Lossy(Together):
    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def bell(self) -> Bell:
        return LossyBell(self.tower, self._chance)


@dataclass
class Simulation:
    """The nodes of one store."""

    nodes: list[Kit]
    stores: list[HesitantStore]
    chance: random.Random
    recurring: Recurring

    def any(self) -> Kit:
        return self.chance.choice(self.nodes)

    @property
    def clock(self) -> HandClock:
        return self.nodes[0].clock

    def running(self) -> list[tuple[Kit, str]]:
        return [(node, task_id) for node in self.nodes for task_id in node.workers.running]


TIMING = Timing(sweep_seconds=0.02, heartbeat_seconds=0.02, stop_seconds=2.0, count_seconds=0.02, look_seconds=0.02)


async def simulate(seed: int, steps: int, root: Path, *, nodes: int = 1) -> History:
    """Run `steps` random steps, let everything come to rest, and check the invariants."""
    chance, history = random.Random(seed), History()
    together = Lossy(chance) if nodes > 1 else None
    found: list[MemoryStore] = []
    stores: list[HesitantStore] = []

    def hesitant(memory: MemoryStore) -> TaskStore:
        found.append(memory)
        thawed = asyncio.Event()
        thawed.set()
        stores.append(HesitantStore(memory, chance, thawed))
        return cast(TaskStore, stores[-1])

    def hesitant_too(schedules: MemorySchedules) -> ScheduleStore:
        return cast(ScheduleStore, HesitantStore(schedules, chance, stores[-1].thawed))

    async with AsyncExitStack() as stack:
        kits: list[Kit] = []
        for number in range(nodes):
            opened = kit(root / str(number), CATALOG, places=chance.choice([1, 2, 5]), wrap_store=hesitant,
                         wrap_schedules=hesitant_too, timing=TIMING, together=together,
                         node=f"node-{number}")  # fmt: skip
            kits.append(await stack.enter_async_context(opened))
            kits[-1].workers.cancels_at_once = chance.random() < 0.5
        it = Simulation(nodes=kits, stores=stores, chance=chance, recurring=Recurring(kits, found[0]))
        stack.push_async_callback(it.recurring.stop)
        await it.recurring.start()
        clients: set[asyncio.Task[None]] = set()
        for _ in range(steps):
            clients.add(asyncio.create_task(_step(it, chance, history)))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if nodes > 1 and chance.random() < 0.3:
                await asyncio.sleep(0.003)  # let the nodes renew and sweep now and then
        await _rest(it, clients, history)
        await _check(it, history)
        history.counts["stale"] = sum(node.engine.stats.stale_results for node in it.nodes)
    return history


async def _step(it: Simulation, chance: random.Random, history: History) -> None:
    kinds = {_submit: 5, _end: 6, _cancel: 2, _revive: 1, _delete: 1, _leap: 2, _pause: 1, _run: 1, _cut_off: 1,
             _reschedule: 1}  # fmt: skip
    if len(it.nodes) > 1:
        kinds |= {_freeze: 2, _leap: 3}
    kind = chance.choices(list(kinds), list(kinds.values()))[0]
    history.counts[kind.__name__] = history.counts.get(kind.__name__, 0) + 1
    try:
        await kind(it, chance, history)
    except OffloadError as refused:
        history.counts[refused.code] = history.counts.get(refused.code, 0) + 1


async def _submit(it: Simulation, chance: random.Random, history: History) -> None:
    options: dict[str, object] = {"run": chance.random() < 0.9}
    if chance.random() < 0.2:
        options["delay_seconds"] = chance.uniform(0, 30)
    if chance.random() < 0.2:
        options["deadline_seconds"] = chance.uniform(1, 60)
    if chance.random() < 0.3:
        options["priority"] = chance.randint(-5, 5)
    name = chance.choice(list(CATALOG.jobs))
    history.accepted.append(
        (await it.any().submit(name, task_id=str(uuid.UUID(int=chance.getrandbits(128), version=4)), **options)).id
    )


async def _end(it: Simulation, chance: random.Random, history: History) -> None:
    late = [node for node in it.nodes if node.workers.late]
    if late and chance.random() < 0.5:
        workers = chance.choice(late).workers
        workers.end_late(_outcome(chance, workers.late[0]))
    elif running := it.running():
        node, task_id = chance.choice(running)
        node.workers.end(task_id, _outcome(chance, node.workers.running[task_id]))


def _outcome(chance: random.Random, task: Task) -> Outcome:
    error = TaskError(type="ValueError", message="no")
    outcomes: list[Outcome] = [
        _success(task),
        _success(task),
        Failed(reason=Reason.ERROR, error=error),
        Failed(reason=Reason.REJECTED, error=error, retry=False),
        Failed(reason=Reason.ERROR, error=error, retry_after_seconds=chance.uniform(0, 9)),
        Failed(reason=Reason.WORKER_LOST, error=error, worker_died=True),
        Stopped(),
        Unrun(),
    ]
    return chance.choice(outcomes)


def _success(task: Task) -> Succeeded:
    """A result that tells whose it is."""
    return Succeeded(json=b'"attempt %d on %s"' % (task.attempt, str(task.node).encode()))


async def _cancel(it: Simulation, chance: random.Random, history: History) -> None:
    if history.accepted:
        task = await it.any().engine.cancel(ALL, chance.choice(history.accepted))
        if task.status is Status.CANCELED:
            history.canceled.add(task.id)


async def _revive(it: Simulation, chance: random.Random, history: History) -> None:
    if history.accepted:
        chosen = chance.choice(history.accepted)
        history.revived.add(chosen)
        await it.any().engine.revive(ALL, chosen)


async def _run(it: Simulation, chance: random.Random, history: History) -> None:
    if history.accepted:
        await it.any().engine.run(ALL, chance.choice(history.accepted))


async def _delete(it: Simulation, chance: random.Random, history: History) -> None:
    if history.accepted:
        history.deleted.add((await it.any().engine.delete(ALL, chance.choice(history.accepted))).id)


async def _leap(it: Simulation, chance: random.Random, history: History) -> None:
    it.clock.at += chance.choice([0.1, 1.0, 7.0, 40.0])
    it.recurring.wake()


async def _cut_off(it: Simulation, chance: random.Random, history: History) -> None:
    await it.recurring.cut_off(chance)


async def _reschedule(it: Simulation, chance: random.Random, history: History) -> None:
    await it.recurring.pause_or_resume(chance)


async def _pause(it: Simulation, chance: random.Random, history: History) -> None:
    await it.any().engine.set_paused(chance.choice(CATALOG.queues), chance.random() < 0.5)


async def _freeze(it: Simulation, chance: random.Random, history: History) -> None:
    """Stop a node for a while: nothing it asks of the store is answered, and its leases run out."""
    store = chance.choice(it.stores)
    store.thawed.clear()
    await asyncio.sleep(chance.choice([0.0, 0.01, 0.05]))
    it.clock.at += chance.choice([0.0, 100.0])
    await asyncio.sleep(chance.choice([0.0, 0.01, 0.05]))
    store.thawed.set()
    it.recurring.wake()


async def _rest(it: Simulation, clients: set[asyncio.Task[None]], history: History) -> None:
    """Stop the troubles and let all attempts succeed until nothing moves."""
    async with asyncio.timeout(30):
        while any(not client.done() for client in clients):
            await _let_all_succeed(it)
        for client in clients:
            client.result()
        history.accepted += await it.recurring.settle()
        for queue in CATALOG.queues:
            await it.any().engine.set_paused(queue, False)
        while it.running() or any(depth.queued or depth.running for depth in await it.nodes[0].store.depths()):
            await _let_all_succeed(it)


async def _let_all_succeed(it: Simulation) -> None:
    it.clock.at += 10.0 if len(it.nodes) == 1 else 0.5  # several nodes must have the time to renew
    for node, task_id in it.running():
        node.workers.end(task_id, _success(node.workers.running[task_id]))
    await asyncio.sleep(0.001)


async def _check(it: Simulation, history: History) -> None:
    for task_id in history.accepted:
        task = await it.any().get(task_id)  # no lost accept
        assert task.status in FINAL or task.status is Status.CREATED, task
        assert task.attempt <= task.max_attempts or task.losses, task
        assert task_id not in history.canceled - history.revived or task.status in (Status.CANCELED, Status.DELETED), (
            task
        )
        assert task.result is None or task.result == _success(task).json, task  # of the attempt that counts
        assert task_id not in history.deleted or task.status is Status.DELETED, task
        events = await it.any().engine.events(ALL, task_id)
        assert [event.n for event in events] == list(range(1, len(events) + 1)), task_id
        told = [json.loads(event.data)["status"] for event in events if event.kind == "status"]
        assert told[-1] == task.status, (task_id, told)
        _check_path(told)
        history.final[task_id] = task.status
    for node in it.nodes:
        await _counts_nothing(node)
        assert not node.workers.running


async def _counts_nothing(node: Kit) -> None:
    """Wait for the word of the last end: it is in the store already, and the node may not have been answered yet."""
    queues = await node.engine.queues()
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            while any(queue.tasks or queue.bytes for queue in queues):
                await asyncio.sleep(0.001)
                queues = await node.engine.queues()
    assert not any(queue.tasks or queue.bytes for queue in queues), queues


def _check_path(told: list[str]) -> None:
    """A final status is left only by a revival, and DELETED never."""
    for before, after in zip(told, told[1:], strict=False):
        if before in ("FAILED", "CANCELED"):
            assert after in ("QUEUED", "DELETED"), told
        assert before != "DELETED", told
        assert before != "DONE" or after == "DELETED", told
