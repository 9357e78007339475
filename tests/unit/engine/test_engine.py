"""What the engine promises about a task's life, with workers and a clock that the test holds in its hands."""

import asyncio
from pathlib import Path

import pytest

from offload.core.admission import Capacity
from offload.core.errors import (
    QueueFull,
    Stopping,
    TaskDoesNotExist,
    TaskIsCanceled,
    TaskIsDeleted,
    TaskIsFinal,
    TaskIsNotFinal,
)
from offload.core.outcome import Failed, Unrun
from offload.core.task import ALL, Reason, Scope, Status, TaskError
from offload.ports import Filter
from tests.unit.engine.kit import kit
from tests.unit.engine.steps import BROKEN, CATALOG, DEAD, status_is, submit
from tests.unit.engine.waiting import until


async def test_a_submitted_task_is_run_and_its_result_kept(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        running = await it.get(task_id)
        assert (running.status, running.attempt, running.node) == (Status.RUNNING, 1, "node-1")
        it.succeed(task_id, b'{"width":320}')
        done = await status_is(it, task_id, Status.DONE)
        assert (done.result, done.attempt, done.lease_until) == (b'{"width":320}', 1, None)
        kinds = [event.kind for event in await it.engine.events(ALL, task_id)]
        assert kinds == ["status", "status", "status"]
        assert [event.n for event in await it.engine.events(ALL, task_id)] == [1, 2, 3]


async def test_tasks_run_by_priority_and_first_come_first_served_within_one(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        first = await submit(it)
        await until(lambda: first in it.workers.running)
        low = await submit(it, priority=-5)
        normal = [await submit(it) for _ in range(3)]
        high = await submit(it, priority=5)
        order = [first, high, *normal, low]
        for task_id in order:
            await until(lambda task_id=task_id: task_id in it.workers.running)  # type: ignore[misc]
            it.succeed(task_id)
        assert it.workers.started == order


async def test_a_low_priority_overtakes_a_higher_one_once_it_has_waited_long(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        first = await submit(it)
        await until(lambda: first in it.workers.running)
        old = await submit(it, priority=0)
        it.clock.at += 61.0
        fresh = await submit(it, priority=1)
        it.succeed(first)
        await until(lambda: old in it.workers.running)
        it.succeed(old)
        await until(lambda: fresh in it.workers.running)


async def test_a_created_task_waits_for_run_and_runs_once(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it, run=False)
        assert (await it.get(task_id)).status is Status.CREATED
        assert (await it.engine.run(ALL, task_id))[1] is True
        assert (await it.engine.run(ALL, task_id))[1] is False
        await until(lambda: task_id in it.workers.running)
        it.succeed(task_id)
        await status_is(it, task_id, Status.DONE)
        assert it.workers.started == [task_id]


async def test_a_delayed_task_is_not_started_early(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        later = await submit(it, delay_seconds=30.0)
        now = await submit(it)
        await until(lambda: now in it.workers.running)
        it.succeed(now)
        await status_is(it, now, Status.DONE)
        it.clock.at += 29.9
        await asyncio.sleep(0.1)
        assert it.workers.started == [now]
        it.clock.at += 0.2
        await until(lambda: later in it.workers.running)


async def test_a_task_not_started_by_its_deadline_fails_unrun(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        first = await submit(it)
        await until(lambda: first in it.workers.running)
        late = await submit(it, deadline_seconds=5.0)
        it.clock.at += 5.1
        failed = await status_is(it, late, Status.FAILED)
        assert (failed.reason, failed.attempt) == (Reason.DEADLINE, 0)
        it.succeed(first)
        await status_is(it, first, Status.DONE)
        assert it.workers.started == [first]


async def test_a_failed_attempt_is_tried_again_after_its_backoff_until_attempts_end(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it, "slow")
        await until(lambda: task_id in it.workers.running)
        it.workers.end(task_id, BROKEN)
        waiting = await status_is(it, task_id, Status.QUEUED)
        assert waiting.run_at == it.clock.at + 10.0
        assert waiting.error is not None and waiting.error.message == "no"
        it.clock.at += 10.0
        await until(lambda: task_id in it.workers.running)
        it.workers.end(task_id, BROKEN)
        failed = await status_is(it, task_id, Status.FAILED)
        assert (failed.reason, failed.attempt) == (Reason.ERROR, 2)


async def test_a_task_that_takes_three_workers_down_is_poison(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        for _ in range(3):
            await until(lambda: task_id in it.workers.running)
            it.workers.end(task_id, DEAD)
            await until(lambda: task_id not in it.workers.running)
        failed = await status_is(it, task_id, Status.FAILED)
        assert (failed.reason, failed.losses) == (Reason.POISON, 3)


async def test_an_attempt_given_back_unrun_does_not_count(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        it.workers.end(task_id, Unrun())
        await until(lambda: task_id in it.workers.running)
        assert (await it.get(task_id)).attempt == 1


async def test_a_queued_task_is_canceled_at_once_and_never_runs(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        first = await submit(it)
        await until(lambda: first in it.workers.running)
        second = await submit(it)
        assert (await it.engine.cancel(ALL, second)).status is Status.CANCELED
        assert (await it.engine.cancel(ALL, second)).status is Status.CANCELED
        it.succeed(first)
        await status_is(it, first, Status.DONE)
        assert it.workers.started == [first]


async def test_a_running_task_is_told_and_canceled_when_it_has_stopped(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        it.workers.cancels_at_once = False
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        told = await it.engine.cancel(ALL, task_id)
        assert (told.status, told.cancel_requested) == (Status.RUNNING, True)
        assert it.workers.canceled == [task_id]
        it.workers.end(task_id, Unrun())
        assert (await status_is(it, task_id, Status.CANCELED)).reason is Reason.CANCELED


async def test_a_finish_that_wins_against_a_cancel_stays_finished(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        it.workers.cancels_at_once = False
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        await it.engine.cancel(ALL, task_id)
        it.succeed(task_id)
        assert (await status_is(it, task_id, Status.DONE)).cancel_requested is False
        with pytest.raises(TaskIsFinal):
            await it.engine.cancel(ALL, task_id)


async def test_a_failed_task_is_revived_for_one_more_attempt(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        with pytest.raises(TaskIsNotFinal):
            await it.engine.revive(ALL, task_id)
        it.workers.end(
            task_id, Failed(reason=Reason.REJECTED, error=TaskError(type="Reject", message="x"), retry=False)
        )
        await status_is(it, task_id, Status.FAILED)
        revived = await it.engine.revive(ALL, task_id)
        assert revived.status is Status.QUEUED
        await until(lambda: task_id in it.workers.running)
        it.succeed(task_id)
        done = await status_is(it, task_id, Status.DONE)
        assert (done.attempt, done.reason) == (2, None)
        with pytest.raises(TaskIsFinal):
            await it.engine.revive(ALL, task_id)


async def test_a_deleted_task_leaves_a_tombstone_and_no_payload(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        it.workers.cancels_at_once = False
        first, second = await submit(it), await submit(it, input=b'{"a":1}')
        await until(lambda: first in it.workers.running)
        deleted = await it.engine.delete(ALL, second)
        assert (deleted.status, (await it.get(second)).input) == (Status.DELETED, b"{}")
        deleting = asyncio.create_task(it.engine.delete(ALL, first))
        await until(lambda: first in it.workers.canceled)
        assert not deleting.done()
        it.workers.end(first, Unrun())
        assert (await deleting).status is Status.DELETED
        assert (await it.engine.delete(ALL, first)).status is Status.DELETED
        for refused in (it.engine.cancel, it.engine.revive, it.engine.run):
            with pytest.raises(TaskIsDeleted):
                await refused(ALL, first)


async def test_a_canceled_task_is_not_run_by_run(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it, run=False)
        await it.engine.cancel(ALL, task_id)
        with pytest.raises(TaskIsCanceled):
            await it.engine.run(ALL, task_id)


async def test_a_paused_queue_accepts_and_does_not_start(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG, places=4) as it:
        await it.engine.set_paused("slow", True)
        task_id, other = await submit(it, "slow"), await submit(it)
        await until(lambda: other in it.workers.running)
        assert (await it.engine.queue("slow")).state == "paused"
        assert it.workers.started == [other]
        await it.engine.set_paused("slow", False)
        await until(lambda: task_id in it.workers.running)


async def test_a_full_queue_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG, capacity=Capacity(tasks_max=2)) as it:
        first = await submit(it)
        await submit(it)
        with pytest.raises(QueueFull) as refused:
            await submit(it)
        assert refused.value.retry_seconds is None
        assert len(await it.engine.find(ALL, Filter())) == 2
        await until(lambda: first in it.workers.running)
        it.succeed(first)
        await status_is(it, first, Status.DONE)
        await submit(it)


async def test_places_reserved_by_requests_under_way_count(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG, capacity=Capacity(tasks_max=2)) as it:
        with it.engine.admit("noop"), it.engine.admit("noop"), pytest.raises(QueueFull):
            it.engine.admit("noop")
        it.engine.admit("noop").settle()


async def test_a_waiter_hears_of_the_end_and_of_the_stop(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id, other = await submit(it), await submit(it)
        waiting = asyncio.create_task(it.engine.wait(ALL, task_id, 60.0))
        held = asyncio.create_task(it.engine.wait(ALL, other, 60.0))
        await until(lambda: task_id in it.workers.running)
        it.succeed(task_id)
        assert (await waiting).status is Status.DONE
        it.engine.begin_stop()
        assert not (await held).final


async def test_another_owners_task_does_not_exist(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it, owner="ann")
        assert (await it.get(task_id, Scope(owner="ann"))).id == task_id
        engine, bob = it.engine, Scope(owner="bob")
        for refused in (engine.get, engine.cancel, engine.run, engine.revive, engine.delete):
            with pytest.raises(TaskDoesNotExist):
                await refused(bob, task_id)
        assert await engine.find(bob, Filter()) == []


async def test_a_stopped_engine_gives_back_its_attempts_and_takes_no_more(tmp_path: Path) -> None:
    async with kit(tmp_path, CATALOG) as it:
        task_id = await submit(it)
        await until(lambda: task_id in it.workers.running)
        await it.engine.stop(0.0)
        task = await it.get(task_id)
        assert (task.status, task.attempt) == (Status.QUEUED, 0)
        with pytest.raises(Stopping):
            await submit(it)
