"""Workers elsewhere that wait are served as soon as they can be, whatever held them up before."""

import asyncio
import contextlib
import gc
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from offload import job
from offload.core.catalog import Catalog
from offload.core.errors import StoreUnavailable
from offload.core.task import ALL, FileRef, Seconds, Status, Task
from offload.engine.lessor import Wish
from offload.engine.parts import Fetching, Timing
from offload.ports import Ask
from offload.stores.memory import MemoryStore
from tests.egress.zoo import Visit, Zoo
from tests.unit.engine.kit import Kit, Wrapped, kit
from tests.unit.engine.steps import status_is
from tests.unit.engine.waiting import until


@job(external=True)
def far() -> int:
    return 1


@job
def near() -> int:
    return 1


CATALOG = Catalog.of_jobs(far, near)
RARE_SWEEPS = Timing(sweep_seconds=600.0)


class Gate:
    """Answer when the test says so."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.opened = asyncio.Event()
        self.waiting = 0

    async def __call__(self, visit: Visit) -> None:
        self.waiting += 1
        await self.opened.wait()
        await visit.answer(self.status, b"abcd")


async def submit(it: Kit, name: str, url: str = "") -> str:
    task_id = str(uuid.uuid4())
    file = FileRef(blob=f"t/{task_id}/in/0", name="", type="", size=0, field="image", url=url)
    return (await it.submit(name, task_id=task_id, files=(file,) if url else ())).id


@pytest.mark.parametrize(("name", "status"), [("far", "404 Not Found"), ("near", "200 OK"), ("near", "404 Not Found")])
async def test_a_worker_that_waits_is_served_when_a_fetch_ends_that_held_it_up(
    tmp_path: Path, name: str, status: str
) -> None:
    gate = Gate(status)
    async with (
        Zoo({"/cat": gate}).open() as zoo,
        kit(tmp_path, CATALOG, timing=RARE_SWEEPS, fetching=Fetching(at_once_max=1), runs=("near",)) as it,
    ):
        waiting = asyncio.ensure_future(it.engine.lessor.lease(ALL, Wish(), wait_seconds=60.0))
        await until(lambda: it.engine.lessor.waiting == 1)
        fetched = await submit(it, name, zoo.url("/cat"))
        await until(lambda: gate.waiting == 1)
        plain = await submit(it, "far")
        await asyncio.wait([waiting], timeout=0.05)
        gate.opened.set()
        async with asyncio.timeout(10):
            assert [task.id for task in await waiting] == [plain]
        if status.startswith("404"):
            await status_is(it, fetched, Status.FAILED)


class SlowToClaim:
    """A store that goes away while it is asked for tasks to lend."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.asked = asyncio.Event()
        self.goes_away = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def claim(self, asks: Sequence[Ask], *, node: str, now: Seconds, lease_until: Seconds) -> list[Task]:
        self.asked.set()
        await self.goes_away.wait()
        raise StoreUnavailable("away")


async def test_nobody_is_told_of_trouble_who_has_gone_meanwhile(tmp_path: Path) -> None:
    wrapped = Wrapped(SlowToClaim)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    async with kit(tmp_path, CATALOG, timing=RARE_SWEEPS, wrap_store=wrapped, runs=()) as it:
        waiting = asyncio.ensure_future(it.engine.lessor.lease(ALL, Wish(), wait_seconds=60.0))
        await wrapped.made.asked.wait()
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        wrapped.made.asked.clear()
        wrapped.made.goes_away.set()
        with pytest.raises(StoreUnavailable):
            await it.engine.lessor.lease(ALL, Wish(), wait_seconds=60.0)
        gc.collect()
    assert complaints == []
