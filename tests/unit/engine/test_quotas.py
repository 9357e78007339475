"""What an owner may hold is kept to also when many ask at once, and when the store cannot count for a moment."""

import asyncio

import pytest

from offload.core.errors import StoreUnavailable
from offload.core.keys import ApiKey, KeyScope
from offload.core.task import Status, Task
from offload.engine.quotas import Quotas, TooManyBytes, TooManyTasks
from offload.ports import Added, NewTask
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import START, HandClock
from tests.unit.engine.waiting import until


class Counting:
    """A store of keys whose counts take until they may be told, and may fail."""

    def __init__(self, memory: MemoryStore) -> None:
        self._keys = memory.keys
        self.may_tell = asyncio.Event()
        self.may_tell.set()
        self.trouble: Exception | None = None
        self.asked = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._keys, name)

    async def unfinished(self, owner: str) -> int:
        return await self._told(await self._keys.unfinished(owner))

    async def stored_bytes(self, owner: str) -> int:
        return await self._told(await self._keys.stored_bytes(owner))

    async def _told(self, number: int) -> int:
        self.asked += 1
        await self.may_tell.wait()
        if self.trouble is not None:
            raise self.trouble
        return number


def key_of(*, tasks_max: int | None = None, bytes_max: int | None = None) -> ApiKey:
    return ApiKey(
        id="k", hash="0" * 64, owner="acme", scopes=(KeyScope.SUBMIT,), created_at=START,
        tasks_max=tasks_max, bytes_max=bytes_max,
    )  # fmt: skip


async def add_one(memory: MemoryStore, number: int = 1, size: int = 0) -> list[Added]:
    task = Task(
        id=f"{number:08}-0000-4000-8000-000000000000",
        owner="acme",
        job="noop",
        queue="default",
        status=Status.QUEUED,
        created_at=START,
        queued_at=START,
        run_at=START,
        input_bytes=size,
    )
    return await memory.add([NewTask(task=task)])


def quotas_of(memory: MemoryStore) -> tuple[Quotas, Counting]:
    counting = Counting(memory)
    return Quotas(counting, HandClock(), shared=False), counting  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [key_of(tasks_max=1), key_of(bytes_max=100)])
async def test_a_count_that_failed_is_asked_for_again_before_anybody_is_let_in(key: ApiKey) -> None:
    memory = MemoryStore()
    quotas, counting = quotas_of(memory)
    await add_one(memory, size=100)
    counting.trouble = StoreUnavailable("gone for a moment")
    with pytest.raises(StoreUnavailable):
        await quotas.share(key, tasks=1, size=1)
    counting.trouble = None
    with pytest.raises((TooManyTasks, TooManyBytes)):
        await quotas.share(key, tasks=1, size=1)


@pytest.mark.parametrize("key", [key_of(tasks_max=1), key_of(bytes_max=100)])
async def test_nobody_is_let_in_while_the_first_count_is_under_way(key: ApiKey) -> None:
    memory = MemoryStore()
    quotas, counting = quotas_of(memory)
    await add_one(memory, size=100)
    counting.may_tell.clear()
    asking = [asyncio.ensure_future(quotas.share(key, tasks=1, size=1)) for _ in range(3)]
    await until(lambda: counting.asked > 0)
    counting.may_tell.set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(each, TooManyTasks | TooManyBytes) for each in told), told


async def test_of_those_who_wait_for_a_count_together_only_as_many_are_let_in_as_there_is_room_for() -> None:
    quotas, counting = quotas_of(MemoryStore())
    counting.may_tell.clear()
    key = key_of(tasks_max=2, bytes_max=1000)
    asking = [asyncio.ensure_future(quotas.share(key, tasks=1, size=1)) for _ in range(5)]
    await until(lambda: counting.asked > 0)
    counting.may_tell.set()
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert sum(isinstance(each, TooManyTasks) for each in told) == 3, told


@pytest.mark.parametrize("key", [key_of(tasks_max=2), key_of(bytes_max=200)])
async def test_what_came_while_the_store_was_counting_is_not_forgotten(key: ApiKey) -> None:
    memory, clock = MemoryStore(), HandClock()
    counting = Counting(memory)
    quotas = Quotas(counting, clock, shared=False)  # type: ignore[arg-type]
    with await quotas.share(key, tasks=1, size=100) as first:
        clock.at += 60.0
        counting.may_tell.clear()  # the next one finds too little room, and has all counted anew
        late = asyncio.ensure_future(quotas.share(key, tasks=2, size=150))
        asked = counting.asked
        await until(lambda: counting.asked > asked)
        first.keep(*await add_one(memory, size=100))
    counting.may_tell.set()
    with pytest.raises((TooManyTasks, TooManyBytes)):
        await late
    with await quotas.share(key, tasks=1, size=100) as second:
        second.keep(*await add_one(memory, number=2, size=100))
    with pytest.raises((TooManyTasks, TooManyBytes)):
        await quotas.share(key, tasks=1, size=1)


async def test_what_an_owner_makes_with_a_key_without_bounds_counts_for_the_other_keys() -> None:
    memory = MemoryStore()
    quotas, _ = quotas_of(memory)
    with await quotas.share(key_of(tasks_max=1), tasks=1, size=0):
        pass  # made nothing
    with await quotas.share(key_of(), tasks=1, size=0) as share:
        share.keep(*await add_one(memory))
    with pytest.raises(TooManyTasks):
        await quotas.share(key_of(tasks_max=1), tasks=1, size=0)
