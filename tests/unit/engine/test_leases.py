"""One lease whose worker is heard by two nodes at once, or once more while its end is still being recorded."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from offload import File, job
from offload.core.catalog import Catalog
from offload.core.errors import StoreUnavailable
from offload.core.lease import Use, lease_of, signed
from offload.core.task import ALL, Status, Task
from offload.core.transitions import Change
from offload.engine.dispatcher import Dispatcher
from offload.engine.leases import Leases
from offload.engine.lessor import Wish
from offload.engine.writing import whole
from offload.ports import Renewal
from offload.stores.memory import MemoryStore
from tests.trees import files_below
from tests.unit.engine.kit import Kit, kit
from tests.unit.engine.waiting import until


@job(external=True)
def draw() -> File:
    return File(b"")


@job(external=True, timeout=5)
def sing() -> str:
    return "la"


A = "10000000-0000-4000-8000-000000000000"


class HeldUp:
    """A store that lets changes wait before it takes them."""

    def __init__(self, memory: MemoryStore) -> None:
        self._memory = memory
        self.goes_on = asyncio.Event()
        self.waiting = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._memory, name)

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        self.waiting += 1
        await self.goes_on.wait()
        return await self._memory.apply(changes)


class AwayAfterClaims:
    """A store that goes away when it has answered a claim."""

    def __init__(self, memory: MemoryStore) -> None:
        self._memory = memory

    def __getattr__(self, name: str) -> object:
        return getattr(self._memory, name)

    async def renew(self, held: Sequence[Task], *, lease_until: float) -> list[Renewal]:
        raise StoreUnavailable("it is away", retry_seconds=1)


@dataclass
class Lent:
    it: Kit
    slow: HeldUp
    """The store as the second node has it."""
    here: Leases
    there: Leases
    hold: str
    write: str

    async def upload(self, leases: Leases, content: bytes) -> None:
        await leases.upload(self.write, whole(content), name="sea.svg", type="image/svg+xml")

    async def result(self) -> bytes:
        task = await self.it.get(A)
        assert task.status is Status.DONE and task.result_file is not None
        return b"".join([piece async for piece in self.it.engine.blobs.read(task.result_file.blob)])

    def files(self, root: Path) -> int:
        return len(files_below(root / "blobs" / "t"))


@asynccontextmanager
async def lent(root: Path) -> AsyncIterator[Lent]:
    """Lend a task at one node; a second one shares the store and the files."""
    async with kit(root, Catalog.of_jobs(draw)) as it:
        assert isinstance(it.store, MemoryStore)
        slow = HeldUp(it.store)
        parts = replace(it.engine.parts, store=slow, node="node-2")  # type: ignore[arg-type]
        there = Leases(parts, Dispatcher(parts, set(), lambda at: None, it.engine.lessor))
        await it.submit("draw", task_id=A)
        (task,) = await it.engine.lessor.lease(ALL, Wish(), wait_seconds=5.0)
        secret, lease = parts.secret, lease_of(task)
        hold, write = signed(secret, Use.HOLD, lease), signed(secret, Use.WRITE, lease)
        yield Lent(it=it, slow=slow, here=it.engine.leases, there=there, hold=hold, write=write)


async def test_a_result_that_two_nodes_were_told_of_at_once_is_kept(tmp_path: Path) -> None:
    async with lent(tmp_path) as it:
        await it.upload(it.here, b"<svg/>")
        again = asyncio.create_task(it.there.done(ALL, it.hold, None))
        await until(lambda: it.slow.waiting == 1)
        it.it.clock.at += 1
        assert (await it.here.done(ALL, it.hold, None)).status is Status.DONE
        it.slow.goes_on.set()
        assert (await again).status is Status.DONE, "said twice is said once"
        assert await it.result() == b"<svg/>"


async def test_an_upload_that_comes_while_the_end_is_recorded_does_not_take_the_result_away(tmp_path: Path) -> None:
    async with lent(tmp_path) as it:
        await it.upload(it.there, b"zero")
        await it.upload(it.there, b"first")
        ending = asyncio.create_task(it.there.done(ALL, it.hold, None))
        await until(lambda: it.slow.waiting == 1)
        await it.upload(it.here, b"second")
        it.slow.goes_on.set()
        assert (await ending).status is Status.DONE
        assert await it.result() == b"first"


async def test_what_was_uploaded_before_the_result_goes_when_the_end_is_recorded(tmp_path: Path) -> None:
    async with lent(tmp_path) as it:
        it.slow.goes_on.set()
        for content in (b"zero", b"first", b"second"):
            await it.upload(it.there, content)
        await it.there.done(ALL, it.hold, None)
        assert await it.result() == b"second"
        assert it.files(tmp_path) == 2, "the file and the note about it"


async def test_what_was_claimed_for_a_worker_reaches_it_also_when_the_store_goes_away_right_then(
    tmp_path: Path,
) -> None:
    async with kit(tmp_path, Catalog.of_jobs(sing), wrap_store=AwayAfterClaims) as it:  # type: ignore[arg-type]
        await it.submit("sing", task_id=A)
        (task,) = await it.engine.lessor.lease(ALL, Wish(), wait_seconds=5.0)
        assert task.id == A
