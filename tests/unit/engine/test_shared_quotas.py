"""What an owner may hold is counted over all nodes of a store."""

from offload.core.keys import ApiKey, KeyScope
from offload.core.task import Status, Task
from offload.engine.quotas import Quotas, TooManyTasks
from offload.ports import Added, NewTask
from offload.stores.memory import MemoryStore
from tests.unit.engine.kit import START, HandClock

MOST = 40


async def test_an_owner_has_one_quota_however_many_nodes_let_tasks_in() -> None:
    memory, clock = MemoryStore(), HandClock()
    nodes = [Quotas(memory.keys, clock, shared=True) for _ in range(4)]
    key = ApiKey(id="k", hash="0" * 64, owner="acme", scopes=(KeyScope.SUBMIT,), created_at=START, tasks_max=MOST)
    accepted = 0
    for number in range(MOST * 2):
        try:
            with await nodes[number % 4].share(key, tasks=1, size=0) as share:
                share.keep(*await _add(memory, number))
                accepted += 1
        except TooManyTasks:
            continue
    # each other node may have let one eighth of the room in since the last count, and nearly full they all count
    assert MOST <= accepted <= MOST + 4


async def _add(memory: MemoryStore, number: int) -> list[Added]:
    task = Task(
        id=f"{number:08}-0000-4000-8000-000000000000",
        owner="acme",
        job="noop",
        queue="default",
        status=Status.QUEUED,
        created_at=START,
        queued_at=START,
        run_at=START,
    )
    return await memory.add([NewTask(task=task)])
