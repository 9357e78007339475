"""What an owner may hold is counted over all nodes of a store."""

from offload.engine.quotas import Quotas, TooManyTasks
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import HandClock
from tests.unit.engine.test_quotas import add_one, key_of

MOST = 40


async def test_an_owner_has_one_quota_however_many_nodes_let_tasks_in() -> None:
    memory, clock = MemoryStore(), HandClock()
    nodes = [Quotas(memory.keys, clock, shared=True) for _ in range(4)]
    key = key_of(tasks_max=MOST)
    accepted = 0
    for number in range(MOST * 2):
        try:
            with await nodes[number % 4].share(key, tasks=1, size=0) as share:
                share.keep(*await add_one(memory, number))
                accepted += 1
        except TooManyTasks:
            continue
    # each other node may have let one eighth of the room in since the last count, and nearly full they all count
    assert MOST <= accepted <= MOST + 4
