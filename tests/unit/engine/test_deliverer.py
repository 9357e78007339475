"""The deliverer's loop: what is due is sent, soon, once at a time, and given back when the node stops."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from offload.core.callback import Delivery, DeliveryState
from offload.core.catalog import Catalog
from offload.core.errors import StoreUnavailable, Unreachable
from offload.core.job import job
from offload.core.task import ALL, Callback, Progress, Status, Task
from offload.core.transitions import Event, Facts, decide
from offload.engine.deliverer import Deliverer, Pace, Rendered
from offload.engine.moves import Moved
from offload.ports import Answer, BlobWriter, Fetched, Note
from offload.ports.callbacks import DeliveryFilter, Lines, Settlement, Taken
from offload.stores.memory_deliveries import MemoryDeliveries
from tests.unit.engine.kit import START, Kit, kit
from tests.unit.engine.waiting import until

URL = "https://a.example/hook"


@job
def noop() -> int:
    return 1


@dataclass
class ScriptedEgress:
    """Answers what the test says, and waits while the gate is shut."""

    answers: list[int | Exception] = field(default_factory=list)
    sent: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    seconds: float = 0.0
    inside: int = 0
    most_inside: int = 0

    def check(self, url: str) -> None:
        """Everything may be sent to."""

    async def send(self, url: str, *, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes]) -> Answer:
        assert isinstance(body, bytes)
        self.sent.append((url, dict(headers), body))
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await self.gate.wait()
            await asyncio.sleep(self.seconds)
        finally:
            self.inside -= 1
        said = self.answers.pop(0) if self.answers else 204
        if isinstance(said, Exception):
            raise said
        return Answer(status=said, latency_seconds=0.0)

    async def fetch(self, url: str, sink: BlobWriter, **more: Any) -> Fetched:
        raise AssertionError

    async def push(self, url: str, chunks: AsyncIterator[bytes], **more: Any) -> Answer:
        raise AssertionError


class LateDeliveries(MemoryDeliveries):
    """Does something right after it was asked in vain."""

    after_nothing: Callable[[], None] = staticmethod(lambda: None)
    fails: int = 0

    async def claim(self, lines: Lines, *, now: float, lease_until: float) -> list[Taken]:
        found = await super().claim(lines, now=now, lease_until=lease_until)
        if not found:
            self.after_nothing()
        return found

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("not now", retry_seconds=1)
        return await super().settle(settlements)


@dataclass
class Post:
    """An engine, its deliverer, and where its callbacks go."""

    kit: Kit
    egress: ScriptedEgress
    deliveries: LateDeliveries
    deliverer: Deliverer

    async def end(self, task_id: str, url: str = URL, **callback: Any) -> Task:
        """Submit a task with a callback and let it succeed."""
        await self.kit.submit(task_id=task_id, callback=Callback(url=url, **callback))
        async with asyncio.timeout(20):
            while task_id not in self.kit.workers.running:
                await asyncio.sleep(0.002)
        self.kit.succeed(task_id)
        return await self.until(task_id, Status.DONE)

    async def until(self, task_id: str, status: Status) -> Task:
        async with asyncio.timeout(20):
            while (task := await self.kit.get(task_id)).status is not status:
                await asyncio.sleep(0.002)
        return task

    async def settled(self, count: int, state: DeliveryState | None = None) -> list[Delivery]:
        """Return the deliveries once so many have been tried."""
        async with asyncio.timeout(20):
            while True:
                found = await self.deliveries.find(ALL, DeliveryFilter(state=state))
                if sum(each.last is not None for each in found) >= count:
                    return found
                await asyncio.sleep(0.002)

    async def sent(self, count: int) -> list[str]:
        """Return the ids of what was sent once it is so much."""
        async with asyncio.timeout(20):
            while len(self.egress.sent) < count:
                await asyncio.sleep(0.002)
        return [fields["webhook-id"] for _, fields, _ in self.egress.sent]


async def said(delivery: Delivery, task: Task) -> Rendered:
    return Rendered(content_type="text/plain", body=f"{delivery.type} {task.status}".encode())


@asynccontextmanager
async def post(root: Path, *, pace: Pace | None = None, places: int = 50) -> AsyncIterator[Post]:
    """Start both with memory stores; leaving stops both."""
    async with kit(root, Catalog.of_jobs(noop), places=places) as found:
        egress, deliveries = ScriptedEgress(), LateDeliveries()
        egress.gate.set()
        memory: Any = found.store
        memory.deliveries = deliveries
        parts: Any = dataclasses.replace(found.engine.parts, egress=egress, deliveries=deliveries)
        engine = found.engine
        engine.callbacks = type(engine.callbacks)(deliveries, egress, found.clock)
        deliverer = Deliverer(parts, engine.callbacks, said, pace or Pace(poll_seconds=600.0, stop_seconds=0.05))
        await deliverer.start()
        try:
            yield Post(kit=found, egress=egress, deliveries=deliveries, deliverer=deliverer)
        finally:
            await deliverer.stop()


async def test_an_end_is_sent_at_once(tmp_path: Path) -> None:
    async with post(tmp_path) as found:
        await found.end("t-1")
        (delivered,) = await found.settled(1)
        assert (delivered.state, delivered.tries) == (DeliveryState.DELIVERED, 1)
        ((url, fields, body),) = found.egress.sent
        assert (url, body, fields["webhook-id"]) == (URL, b"task.done DONE", delivered.id)
        assert fields["webhook-timestamp"] == str(int(START))


async def test_what_comes_due_while_the_store_is_asked_is_not_missed(tmp_path: Path) -> None:
    async with post(tmp_path) as found:
        found.egress.answers = [500]
        await found.end("t-1")
        (waiting,) = await found.settled(1)
        clock = found.kit.clock
        clock.at = waiting.due_at - 0.1

        def passes() -> None:
            clock.at = max(clock.at, waiting.due_at)

        found.deliveries.after_nothing = passes
        found.deliverer.wake()
        assert await found.sent(2) == [waiting.id] * 2


async def test_a_place_that_cannot_be_reached_is_tried_again_with_the_same_id(tmp_path: Path) -> None:
    async with post(tmp_path) as found:
        found.egress.answers = [Unreachable("https://a.example"), 503]
        await found.end("t-1")
        for tries, waits in ((1, 5.25), (2, 315.0)):
            (waiting,) = await found.settled(1)
            async with asyncio.timeout(20):
                while (waiting := (await found.settled(1))[0]).step < tries:
                    await asyncio.sleep(0.002)
            assert waiting.due_at == found.kit.clock.at + waits
            found.kit.clock.at = waiting.due_at
            found.deliverer.wake()
        assert len(set(await found.sent(3))) == 1
        await found.settled(1, DeliveryState.DELIVERED)


async def test_a_host_that_is_new_gets_one_at_a_time_and_one_that_works_eight(tmp_path: Path) -> None:
    async with post(tmp_path) as found:
        found.egress.gate.clear()
        for n in range(30):
            await found.end(f"t-{n}")
        assert (found.egress.inside, len(found.egress.sent)) == (1, 1)
        found.egress.seconds = 0.05
        found.egress.gate.set()
        await found.settled(30)
        assert found.egress.most_inside == 8


async def test_many_silent_hosts_leave_room_for_one_that_works(tmp_path: Path) -> None:
    pace = Pace(at_once_max=8, poll_seconds=600.0, stop_seconds=0.05)
    async with post(tmp_path, pace=pace) as found:
        await found.end("good", "https://good.example/")
        await found.settled(1)
        found.egress.gate.clear()
        for n in range(20):
            await found.end(f"t-{n}", f"https://silent-{n}.example/")
        await found.sent(9)
        assert found.egress.inside == 8
        await found.end("again", "https://good.example/")
        await found.sent(10)
        assert found.egress.sent[-1][0] == "https://good.example/"


async def test_what_tells_of_one_task_goes_one_after_the_other(tmp_path: Path) -> None:
    async with post(tmp_path) as found:
        await found.end("t-1")
        await found.settled(1)
        found.egress.gate.clear()
        await found.end("t-2", events=("started", "done"))
        await found.sent(2)
        async with asyncio.timeout(20):
            while found.deliverer.sending() < 2:  # both were taken: the host works
                await asyncio.sleep(0.002)
        assert (found.egress.inside, found.egress.sent[-1][2][:12]) == (1, b"task.started")
        found.egress.gate.set()
        await found.settled(3)
        assert [body for _, _, body in found.egress.sent][-1] == b"task.done DONE"


async def test_a_start_that_was_not_sent_before_the_end_never_is(tmp_path: Path) -> None:
    async with post(tmp_path) as found:
        found.egress.answers = [500]
        await found.end("t-1", events=("started",))
        (delivery,) = await found.settled(1)
        found.kit.clock.at = max(found.kit.clock.at, delivery.due_at)
        found.deliverer.wake()
        (given_up,) = await found.settled(1, DeliveryState.GIVEN_UP)
        assert given_up.last is not None and given_up.last.error.startswith("Superseded")
        assert len(found.egress.sent) <= 1


async def test_progress_is_told_when_it_is_wanted(tmp_path: Path) -> None:
    async with post(tmp_path) as found:
        await found.kit.submit(task_id="t-1", callback=Callback(url=URL, events=("progress",)))
        task = await found.until("t-1", Status.RUNNING)
        found.kit.workers.note(Note(task=task, progress=Progress(fraction=0.5)))
        async with asyncio.timeout(20):
            while not await found.deliveries.find(ALL, DeliveryFilter()):
                await asyncio.sleep(0.002)
        found.kit.clock.at += 1.0
        found.deliverer.wake()
        await found.sent(1)
        assert found.egress.sent[0][2] == b"task.progress RUNNING"


async def test_a_store_that_cannot_write_is_asked_again(tmp_path: Path) -> None:
    async with post(tmp_path) as found:
        found.deliveries.fails = 2
        await found.end("t-1")
        await found.settled(1, DeliveryState.DELIVERED)
        assert len(found.egress.sent) == 1


async def test_what_cannot_be_rendered_is_a_failure_like_another(tmp_path: Path) -> None:
    async with post(tmp_path) as found:

        async def wrong(delivery: Delivery, task: Task) -> Rendered:
            raise RuntimeError("no")

        found.deliverer._render = wrong
        await found.end("t-1")
        (waiting,) = await found.settled(1)
        assert waiting.state is DeliveryState.PENDING
        assert waiting.last is not None and waiting.last.error.startswith("RuntimeError")


async def test_a_stop_gives_back_what_is_being_sent(tmp_path: Path) -> None:
    async with post(tmp_path) as found:
        found.egress.gate.clear()
        await found.end("t-1")
        await found.sent(1)
        await found.deliverer.stop()
        (given_back,) = await found.deliveries.find(ALL, DeliveryFilter())
        assert (given_back.state, given_back.lease_until, given_back.step) == (DeliveryState.PENDING, None, 0)
        assert given_back.due_at == found.kit.clock.at
        assert found.deliverer.sending() == 0


def test_a_task_without_a_callback_makes_nothing() -> None:
    queued = Task(id="t", job="noop", queue="default", status=Status.QUEUED, created_at=1.0, run_at=1.0)
    assert decide(queued, Event.CANCEL, Facts(now=2.0)).deliveries == ()
    assert msgspec.structs.replace(queued, callback=Callback(url=URL)).callback is not None


async def test_what_is_sent_and_sent_again_moves_the_list_of_its_task(tmp_path: Path) -> None:
    async with post(tmp_path) as it:
        moves = it.kit.engine.callbacks.moves
        it.egress.gate.clear()
        task = await it.end("a0000000-0000-4000-8000-000000000000")
        own = Moved(tasks=frozenset({task.id}))
        await it.sent(1)
        assert moves.since(0, ALL) == own
        taken = moves.number
        it.egress.gate.set()
        (delivery,) = await it.settled(1)
        await until(lambda: moves.since(taken, ALL) == own)
        settled = moves.number
        await it.kit.engine.callbacks.replay(ALL, delivery.id)
        assert moves.since(settled, ALL) == own
        assert moves.since(moves.number, ALL) in (None, own), "it may have been sent at once"
