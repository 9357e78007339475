"""The reaper acts on due times as they come, also on those it hears of while it is looking, and rests in trouble."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from offload.core.errors import StoreUnavailable
from offload.core.task import Seconds, Status, Task
from offload.engine.parts import Timing
from offload.engine.upkeep import TROUBLE_SECONDS
from offload.ports import Ask
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import Wrapped, kit
from tests.unit.engine.steps import CATALOG, status_is, submit
from tests.unit.engine.waiting import until


class SlowToLook:
    """A store whose answer about the next due time is on its way for as long as the test wants."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.may_tell = asyncio.Event()
        self.may_tell.set()
        self.is_telling = False
        self.looks: list[Seconds] = []
        self.trouble: Exception | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def overdue(self, *, now: Seconds, limit: int) -> list[Task]:
        self.looks.append(asyncio.get_running_loop().time())
        if self.trouble is not None:
            raise self.trouble
        return await self._store.overdue(now=now, limit=limit)

    async def next_due(self, now: Seconds) -> Seconds | None:
        found = await self._store.next_due(now)
        self.is_telling = True
        await self.may_tell.wait()
        self.is_telling = False
        return found


async def test_a_due_time_that_is_told_of_while_the_store_is_asked_for_the_next_is_kept(tmp_path: Path) -> None:
    wrapped = Wrapped(SlowToLook)
    async with kit(tmp_path, CATALOG, places=2, wrap_store=wrapped, timing=Timing(sweep_seconds=600.0)) as it:
        store = wrapped.made
        first = await submit(it, delay_seconds=0.2)
        await until(lambda: len(store.looks) == 2 and not store.is_telling)
        it.clock.at += 0.2
        store.may_tell.clear()
        await until(lambda: store.is_telling)  # the first is due, and the store knows of no other
        second = await submit(it, delay_seconds=0.2)
        store.may_tell.set()
        await status_is(it, first, Status.RUNNING)
        it.clock.at += 0.2
        await status_is(it, second, Status.RUNNING)


async def test_while_the_store_is_away_nobody_asks_it_for_what_is_due_without_a_pause(tmp_path: Path) -> None:
    wrapped = Wrapped(SlowToLook)
    async with kit(tmp_path, CATALOG, wrap_store=wrapped, timing=Timing(sweep_seconds=600.0)) as it:
        store = wrapped.made
        late = await submit(it, delay_seconds=0.2)
        await until(lambda: len(store.looks) == 2 and not store.is_telling)
        store.trouble = StoreUnavailable("away")
        it.clock.at += 0.2
        await until(lambda: len(store.looks) == 4)
        assert store.looks[3] - store.looks[2] > 0.9 * TROUBLE_SECONDS
        store.trouble = None
        await status_is(it, late, Status.RUNNING)


class LetsInOne:
    """A store in which of the tasks that come due one enters the line in each claim."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.outside = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def claim(self, asks: Sequence[Ask], *, node: str, now: Seconds, lease_until: Seconds) -> list[Task]:
        self.outside = max(0, self.outside - 1)
        if self.outside:
            return []
        return await self._store.claim(asks, node=node, now=now, lease_until=lease_until)

    async def next_due(self, now: Seconds) -> Seconds | None:
        return now if self.outside > 1 else await self._store.next_due(now)


async def test_all_that_comes_due_at_once_enters_the_line_also_while_no_place_is_free(tmp_path: Path) -> None:
    wrapped = Wrapped(LetsInOne)
    async with kit(tmp_path, CATALOG, places=0, wrap_store=wrapped, timing=Timing(sweep_seconds=600.0)) as it:
        late = await submit(it, delay_seconds=0.2)
        wrapped.made.outside = 250
        it.clock.at += 0.2
        await until(lambda: wrapped.made.outside == 1)
        it.workers.places = 1
        it.engine._dispatcher.room_freed()
        await status_is(it, late, Status.RUNNING)
