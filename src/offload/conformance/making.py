"""Tasks in every state, made the way the engine makes them."""

from typing import Any
from uuid import uuid4

from offload.core.task import ALL, Status, Task, TaskEvent
from offload.core.transitions import Event, Facts, decide
from offload.ports import Ask, NewTask, TaskStore

NOW = 1_000.0
LEASE = 1_030.0
NODE = "node-1"


def created(**fields: Any) -> Task:
    given: dict[str, Any] = {"id": str(uuid4()), "job": "resize", "queue": "images", "created_at": NOW, **fields}
    return Task(status=Status.CREATED, **given)


def queued(*, now: float = NOW, key: str | None = None, fingerprint: str = "", **fields: Any) -> NewTask:
    change = decide(created(**fields), Event.RUN, Facts(now=now))
    return NewTask(task=change.after, events=change.events, idempotency_key=key, fingerprint=fingerprint)


async def add(store: TaskStore, new: NewTask | None = None, **fields: Any) -> Task:
    (added,) = await store.add([queued(**fields) if new is None else new])
    assert added.fresh
    return added.task


async def claim(store: TaskStore, *jobs: str, limit: int = 10, now: float = NOW, **given: Any) -> list[Task]:
    queue = given.pop("queue", "images")
    ask = Ask(queue=queue, jobs=jobs or ("resize",), limit=limit)
    return await store.claim([ask], **{"node": NODE, "now": now, "lease_until": now + 30, **given})


async def claimed(store: TaskStore, **fields: Any) -> Task:
    """Return a task that runs."""
    task = await add(store, **fields)
    for taken in await claim(store, task.job, limit=100, queue=task.queue):
        if taken.id == task.id:
            return taken
    raise AssertionError("the task was not claimed")


async def move(store: TaskStore, task: Task, event: Event, **facts: Any) -> Task:
    """Apply an event; return the task as stored."""
    assert await store.apply([decide(task, event, Facts(**{"now": NOW + 1, **facts}))]) == [True]
    return await stored(store, task)


async def done(store: TaskStore, *, finished_at: float = NOW + 1, keep_seconds: float = 60.0, **fields: Any) -> Task:
    task = await claimed(store, **fields)
    return await move(store, task, Event.SUCCEED, now=finished_at, keep_seconds=keep_seconds, result=b'"good"')


async def stored(store: TaskStore, task: Task) -> Task:
    found = await store.get(ALL, task.id)
    assert found is not None
    return found


def log(text: str, *, at: float = NOW, attempt: int = 1) -> TaskEvent:
    return TaskEvent(kind="log", at=at, attempt=attempt, data=f'{{"text":"{text}"}}'.encode())
