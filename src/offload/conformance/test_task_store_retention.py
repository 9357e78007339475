"""What every store promises about dropping what has been kept long enough."""

from offload.conformance.making import NOW, add, claimed, done, log, move, queued, stored
from offload.conformance.places import OpenStore
from offload.core.task import ALL, Progress, Reason, Status, TaskError
from offload.core.transitions import Event, Facts, decide
from offload.ports import Filter, Note, Purged, Retention

CHECKS = ("store",)

AUDIT = 1_000.0


def retention(now: float, limit: int = 100, key_seconds: float = 1e6) -> Retention:
    return Retention(now=now, audit_seconds=AUDIT, key_seconds=key_seconds, limit=limit)


async def test_a_payload_is_dropped_when_it_expires_and_the_row_stays(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store, tags={"a": "b"}, input=b'{"secret":1}')
        await store.note([Note(task=task, progress=Progress(fraction=0.5), events=(log("secret"),))])
        task = await move(store, task, Event.SUCCEED, now=NOW, keep_seconds=10.0, result=b'"secret"')
        assert await store.purge(retention(NOW + 9)) == Purged()
        assert await store.purge(retention(NOW + 10)) == Purged(task_ids=(task.id,))
        assert await store.purge(retention(NOW + 10)) == Purged()
        left = await stored(store, task)
        assert (left.status, left.input, left.result, left.payload_dropped) == (Status.DONE, b"{}", None, True)
        assert await store.find(ALL, Filter(tags={"a": "b"})) == [left]
        assert [event.kind for event in await store.events(ALL, task.id)] == ["status"] * 3


async def test_a_dropped_payload_keeps_the_error_but_not_its_traceback(open_store: OpenStore) -> None:
    async with open_store() as store:
        error = TaskError(type="ValueError", message="no", traceback="line 1, in f(secret)")
        task = await move(store, await claimed(store), Event.FAIL, reason=Reason.ERROR, error=error, keep_seconds=1.0)
        await store.purge(retention(NOW + 5))
        assert (await stored(store, task)).error == TaskError(type="ValueError", message="no")


async def test_a_change_decided_before_the_payload_was_dropped_is_not_written(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store)
        task = await move(store, task, Event.FAIL, now=NOW, reason=Reason.ERROR, keep_seconds=10.0)
        revive = decide(task, Event.REVIVE, Facts(now=NOW + 10))
        await store.purge(retention(NOW + 10))
        assert await store.apply([revive]) == [False]


async def test_a_row_is_removed_when_its_audit_time_is_over(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await done(store, finished_at=NOW, keep_seconds=5_000.0, tags={"a": "b"})
        waiting = await add(store)
        assert await store.purge(retention(NOW + AUDIT - 1)) == Purged()
        assert await store.purge(retention(NOW + AUDIT)) == Purged(task_ids=(task.id,), rows=1)
        assert await store.get(ALL, task.id) is None
        assert await store.events(ALL, task.id) == []
        assert await store.find(ALL, Filter()) == [waiting]
        again = await add(store, id=task.id)
        assert again.key > waiting.key


async def test_blobs_of_a_task_are_named_once(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await done(store, finished_at=NOW, keep_seconds=1.0)
        await add(store)
        assert (await store.purge(retention(NOW + 1))).task_ids == (task.id,)
        assert await store.purge(retention(NOW + AUDIT)) == Purged(rows=1)


async def test_what_waits_or_runs_is_never_purged(open_store: OpenStore) -> None:
    async with open_store() as store:
        tasks = [await claimed(store), await add(store, run_at=NOW + 1e9, expires_at=NOW + 1)]
        assert await store.purge(retention(NOW + 1e9)) == Purged()
        assert await store.find(ALL, Filter()) == tasks[::-1]


async def test_a_revived_task_keeps_its_payload(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store, input=b'{"a":1}')
        task = await move(store, task, Event.FAIL, now=NOW, reason=Reason.ERROR, keep_seconds=10.0)
        task = await move(store, task, Event.REVIVE, now=NOW + 5)
        assert await store.purge(retention(NOW + AUDIT)) == Purged()
        assert (await stored(store, task)).input == b'{"a":1}'


async def test_a_batch_is_limited_and_takes_the_oldest_first(open_store: OpenStore) -> None:
    async with open_store() as store:
        tasks = [await done(store, finished_at=NOW + 5 - i, keep_seconds=1.0) for i in range(3)]
        first = await store.purge(retention(NOW + 10, limit=2))
        assert first.task_ids == (tasks[2].id, tasks[1].id)
        assert (await store.purge(retention(NOW + 10, limit=2))).task_ids == (tasks[0].id,)


async def test_an_idempotency_key_is_forgotten_after_its_time(open_store: OpenStore) -> None:
    async with open_store() as store:
        await add(store, queued(key="k", fingerprint="a"))
        assert await store.purge(retention(NOW + 9, key_seconds=10)) == Purged()
        assert await store.purge(retention(NOW + 10, key_seconds=10)) == Purged(keys=1)
        assert (await store.add([queued(key="k", fingerprint="b")]))[0].fresh


async def test_an_idempotency_key_of_a_removed_task_can_be_used_again(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store)
        await move(store, task, Event.SUCCEED, now=NOW, keep_seconds=1.0)
        (added,) = await store.add([queued(key="k", fingerprint="a")])
        await move(store, added.task, Event.CANCEL, now=NOW, keep_seconds=1.0)
        await add(store)
        assert (await store.purge(retention(NOW + AUDIT))).rows == 2
        assert (await store.add([queued(key="k", fingerprint="b")]))[0].fresh
