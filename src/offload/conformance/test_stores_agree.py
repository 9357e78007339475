"""Whatever is done to them, every store gives the same answers as the memory store."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from offload.conformance.making import NOW, log, queued
from offload.conformance.places import OpenStore
from offload.core.callback import Try, after_try, delivery_of
from offload.core.errors import OffloadError
from offload.core.task import ALL, Callback, Progress, Reason, Scope, Status, Task, TaskError
from offload.core.transitions import TABLE, Facts, decide
from offload.ports import Ask, Filter, NewTask, Note, Retention
from offload.ports.callbacks import DeliveryFilter, Lines, Settlement, Standing, Taken
from offload.ports.store import Store
from offload.stores.memory import MemoryStore

CHECKS = ("store",)
NEEDS = ("deliveries",)

IDS = [f"00000000-0000-4000-8000-{i:012d}" for i in range(6)]
OWNERS, JOBS, QUEUES = ("", "ann"), ("a", "b"), ("q", "r")
NODES = st.sampled_from(["node-1", "node-2"])
TAGS = st.sampled_from([{}, {"x": "1"}, {"x": "1", "y": "2"}])
SPECS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(IDS),
        "owner": st.sampled_from(OWNERS),
        "job": st.sampled_from(JOBS),
        "queue": st.sampled_from(QUEUES),
        "priority": st.integers(-2, 2),
        "delay": st.sampled_from([0.0, 0.0, 5.0, 90.0]),
        "deadline": st.sampled_from([None, None, 3.0, 60.0]),
        "key": st.sampled_from([None, None, "k"]),
        "fingerprint": st.sampled_from(["f", "f", "g"]),
        "input_bytes": st.integers(0, 100),
        "tags": TAGS,
        "callback": st.sampled_from(
            [
                None,
                Callback(url="https://a.example/"),
                Callback(url="https://b.example/", events=("started", "progress", "done"), body="result"),
            ]
        ),
    }
)
FILTERS = st.builds(
    Filter,
    job=st.sampled_from([None, *JOBS]),
    queue=st.sampled_from([None, *QUEUES]),
    statuses=st.lists(st.sampled_from(Status), max_size=3, unique=True).map(tuple),
    tags=TAGS,
    before_key=st.sampled_from([None, 4]),
    limit=st.sampled_from([1, 100]),
)


class Stores(RuleBasedStateMachine):
    """Does the same to both."""

    open_empty_store: OpenStore

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._memory = MemoryStore()
        self._opened = type(self).open_empty_store()
        self._other = self._runner.run(_entered(self._opened))
        self._now = NOW
        self._seen: list[Task] = []
        """Tasks as they were at some time: what a client, a worker or a node may still believe."""
        self._taken: list[Taken] = []

    def teardown(self) -> None:
        self._runner.run(_left(self._opened))
        self._runner.close()

    def both(self, call: Callable[[Store], Coroutine[Any, Any, Any]]) -> Any:
        """Return the answer, which must be one."""

        async def answer(store: Store) -> Any:
            try:
                return await call(store)
            except OffloadError as error:
                return type(error), str(error)

        expected = self._runner.run(answer(self._memory))
        assert self._runner.run(answer(self._other)) == expected
        return expected

    def remember(self, *tasks: Task) -> None:
        self._seen = [*self._seen, *tasks][-30:]

    @rule(specs=st.lists(SPECS, min_size=1, max_size=3))
    def add(self, specs: list[dict[str, Any]]) -> None:
        answer = self.both(lambda store: store.add([self._new(**spec) for spec in specs]))
        if isinstance(answer, list):
            self.remember(*(added.task for added in answer))

    @rule(
        queue=st.sampled_from(QUEUES),
        jobs=st.sampled_from([("a",), ("b", "a")]),
        limit=st.integers(1, 3),
        node=NODES,
        owner=st.sampled_from([None, *OWNERS]),
    )
    def claim(self, queue: str, jobs: tuple[str, ...], limit: int, node: str, owner: str | None) -> None:
        asks = [Ask(queue=queue, jobs=jobs, limit=limit, owner=owner), Ask(queue="q", jobs=("a",), limit=1)]
        now = self._now
        self.remember(*self.both(lambda store: store.claim(asks, node=node, now=now, lease_until=now + 30)))

    @precondition(lambda self: self._seen)
    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self._seen))
        events = [event for status, event in TABLE if status is task.status]
        if not events:
            return
        error = TaskError(type="E", message="m", traceback="t") if data.draw(st.booleans()) else None
        event = data.draw(st.sampled_from(events))
        facts = Facts(
            now=self._now,
            run_at=self._now + data.draw(st.sampled_from([0.0, 5.0])),
            lease_until=self._now + 30,
            node="node-1",
            result=b"1",
            reason=Reason.ERROR,
            error=error,
            keep_seconds=data.draw(st.sampled_from([None, 20.0])),
            log=(log("end"),),
        )
        change = decide(task, event, facts)
        self.both(lambda store: store.apply([change]))
        self.remember(*self.both(lambda store: store.find(ALL, Filter())))

    @precondition(lambda self: self._seen)
    @rule(data=st.data(), fraction=st.none() | st.floats(0, 1), texts=st.lists(st.sampled_from("ab"), max_size=2))
    def note(self, data: st.DataObject, fraction: float | None, texts: list[str]) -> None:
        progress = None if fraction is None else Progress(fraction=fraction)
        task = data.draw(st.sampled_from(self._seen))
        wants = task.callback is not None and progress is not None
        told = (delivery_of(task, task.callback, "progress", self._now),) if task.callback and wants else ()
        note = Note(task=task, progress=progress, events=tuple(map(log, texts)), deliveries=told)
        self.both(lambda store: store.note([note, note]))

    @precondition(lambda self: self._seen)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        held = data.draw(st.lists(st.sampled_from(self._seen), max_size=3))
        self.both(lambda store: store.renew(held, lease_until=self._now + 45))

    @rule(limit=st.integers(1, 3), audit_seconds=st.sampled_from([10.0, 80.0]))
    def purge(self, limit: int, audit_seconds: float) -> None:
        what = Retention(now=self._now, audit_seconds=audit_seconds, key_seconds=70.0, limit=limit)
        self.both(lambda store: store.purge(what))

    @rule(room=st.integers(1, 4), busy=st.sampled_from([{}, {"a.example:443": 1}]))
    def take(self, room: int, busy: dict[str, int]) -> None:
        lines = Lines(room=dict.fromkeys(Standing, room), busy=busy, host_max=3)
        now = self._now
        self._taken += self.both(lambda store: store.deliveries.claim(lines, now=now, lease_until=now + 20))
        self._taken = self._taken[-10:]

    @precondition(lambda self: self._taken)
    @rule(data=st.data(), status=st.sampled_from([None, 200, 410, 500]))
    def settle(self, data: st.DataObject, status: int | None) -> None:
        before = data.draw(st.sampled_from(self._taken)).delivery
        after = after_try(before, Try(at=self._now, latency_seconds=0.5, status_code=status), chance=0.0)
        worked = None if status is None else status == 200
        one = Settlement(before=before, after=after, worked=worked)
        self.both(lambda store: store.deliveries.settle([one, one]))

    @precondition(lambda self: self._taken)
    @rule(data=st.data(), owner=st.sampled_from([None, *OWNERS]))
    def replay(self, data: st.DataObject, owner: str | None) -> None:
        chosen = data.draw(st.sampled_from(self._taken)).delivery.id
        self.both(lambda store: store.deliveries.replay(Scope(owner=owner), chosen, now=self._now))

    @rule(seconds=st.sampled_from([1.0, 4.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self._now += seconds

    @rule(wanted=FILTERS, owner=st.sampled_from([None, *OWNERS]))
    def find(self, wanted: Filter, owner: str | None) -> None:
        self.both(lambda store: store.find(Scope(owner=owner), wanted))

    @invariant()
    def they_agree(self) -> None:
        now = self._now
        tasks = self.both(lambda store: store.find(ALL, Filter()))
        self.both(lambda store: store.depths())
        self.both(lambda store: store.overdue(now=now, limit=3))
        self.both(lambda store: store.next_due(now))
        self.both(lambda store: store.deliveries.find(ALL, DeliveryFilter()))
        self.both(lambda store: store.deliveries.next_due(now))
        self.both(lambda store: store.deliveries.failing_hosts())
        for task in tasks:
            self.both(lambda store, task=task: store.events(ALL, task.id))  # type: ignore[misc]
            self.both(lambda store, task=task: store.position(task, most=2))  # type: ignore[misc]

    def _new(self, *, delay: float, deadline: float | None, **spec: Any) -> NewTask:
        run_at = self._now + delay if delay else None
        deadline_at = None if deadline is None else self._now + deadline
        return queued(now=self._now, created_at=self._now, run_at=run_at, deadline_at=deadline_at, **spec)


async def _entered(opened: AbstractAsyncContextManager[Store]) -> Store:
    return await opened.__aenter__()


async def _left(opened: AbstractAsyncContextManager[Store]) -> None:
    await opened.__aexit__(None, None, None)


def test_the_store_gives_the_same_answers_as_the_memory_store(open_empty_store: OpenStore, stories: int) -> None:
    how = settings(
        max_examples=stories,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking a story with files takes minutes
    )
    compared = type("Compared", (Stores,), {"open_empty_store": staticmethod(open_empty_store)})
    run_state_machine_as_test(compared, settings=how)
