"""What every store promises about adding, changing, claiming and holding tasks."""

import asyncio
from typing import Any

import msgspec
import pytest

from offload.conformance.making import LEASE, NODE, NOW, add, claim, claimed, created, done, log, move, queued, stored
from offload.conformance.places import OpenStore
from offload.core.errors import IdempotencyKeyReused, TaskAlreadyExists
from offload.core.task import ALL, FileRef, Progress, Reason, Scope, Status, TaskError
from offload.core.transitions import Event, Facts, decide
from offload.ports import Ask, Note, Renewal

CHECKS = ("store",)

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
IMAGE = FileRef(blob="t/1/in/0", name="cat.jpg", type="image/jpeg", size=7, sha256="ab", field="image")


async def test_a_task_is_read_back_as_it_was_added(open_store: OpenStore) -> None:
    async with open_store() as store:
        new = queued(
            owner="ann", priority=5, deadline_at=NOW + 9, input=b'{"width":320}', input_bytes=20, files=(IMAGE,),
            max_attempts=7, traceparent=TRACE, tags={"customer": "42", "näme": "wért"},
        )  # fmt: skip
        (added,) = await store.add([new])
        assert added.fresh and added.task.key > 0 and added.task.event_count == 1
        assert added.task == msgspec.structs.replace(new.task, key=added.task.key, event_count=1)
        assert await store.get(ALL, new.task.id) == added.task and added.task.traceparent == TRACE
        (event,) = await store.events(ALL, new.task.id)
        assert event == msgspec.structs.replace(new.events[0], n=1)


async def test_a_task_that_was_only_created_does_not_wait_in_line(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await add(store, msgspec.structs.replace(queued(), task=created(), events=()))
        assert await claim(store) == [] and await store.depths() == [] and await store.events(ALL, task.id) == []
        await move(store, task, Event.RUN, now=NOW)
        assert [taken.id for taken in await claim(store)] == [task.id]


async def test_keys_grow_in_the_order_of_adding(open_store: OpenStore) -> None:
    async with open_store() as store:
        keys = [added.task.key for added in await store.add([queued() for _ in range(5)])]
        keys.append((await add(store)).key)
        assert keys == sorted(set(keys))


async def test_one_idempotency_key_makes_one_task(open_store: OpenStore) -> None:
    async with open_store() as store:
        first = await add(store, queued(key="k", fingerprint="a"))
        again = await store.add([queued(key="k", fingerprint="a")])
        assert [(it.fresh, it.task) for it in again] == [(False, first)]


async def test_an_idempotency_key_finds_the_task_as_it_is_now(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await add(store, queued(key="k", fingerprint="a"))
        (running,) = await claim(store)
        (again,) = await store.add([queued(key="k", fingerprint="a")])
        assert again.task == running == await stored(store, task)


async def test_one_idempotency_key_used_at_once_by_many_makes_one_task(open_store: OpenStore) -> None:
    async with open_store() as store:
        answers = await asyncio.gather(*(store.add([queued(key="k", fingerprint="a")]) for _ in range(20)))
        assert sum(it.fresh for (it,) in answers) == 1
        assert len({it.task.id for (it,) in answers}) == 1


async def test_an_idempotency_key_with_another_request_is_refused(open_store: OpenStore) -> None:
    async with open_store() as store:
        await add(store, queued(key="k", fingerprint="a"))
        with pytest.raises(IdempotencyKeyReused):
            await store.add([queued(key="k", fingerprint="b")])


async def test_owners_do_not_share_idempotency_keys(open_store: OpenStore) -> None:
    async with open_store() as store:
        mine = await add(store, queued(key="k", fingerprint="a", owner="ann"))
        other = await add(store, queued(key="k", fingerprint="b", owner="bob"))
        assert mine.id != other.id


async def test_an_id_that_exists_with_the_same_request_is_that_task(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await add(store, queued(fingerprint="a"))
        (again,) = await store.add([queued(id=task.id, fingerprint="a")])
        assert (again.fresh, again.task) == (False, task)


@pytest.mark.parametrize("other", [{"fingerprint": "b"}, {"fingerprint": "a", "owner": "bob"}])
async def test_an_id_that_exists_with_another_request_or_owner_is_refused(
    open_store: OpenStore, other: dict[str, Any]
) -> None:
    async with open_store() as store:
        task = await add(store, queued(fingerprint="a"))
        with pytest.raises(TaskAlreadyExists):
            await store.add([queued(id=task.id, **other)])


async def test_a_list_is_added_whole_or_not_at_all(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await add(store, queued(fingerprint="a"))
        good = queued(key="fresh", fingerprint="a")
        with pytest.raises(TaskAlreadyExists):
            await store.add([good, queued(id=task.id, fingerprint="b")])
        assert await store.get(ALL, good.task.id) is None
        assert [depth.queued for depth in await store.depths()] == [1]
        (added,) = await store.add([good])
        assert added.fresh


async def test_a_refused_caller_does_not_harm_those_who_wait_with_it(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await add(store, queued(fingerprint="a"))
        calls = [store.add([queued(id=task.id, fingerprint="b")]), *(store.add([queued()]) for _ in range(5))]
        refused, *others = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(refused, TaskAlreadyExists)
        assert not any(isinstance(answer, BaseException) for answer in others)
        assert [depth.queued for depth in await store.depths()] == [6]


async def test_the_same_id_twice_in_one_list_is_one_task(open_store: OpenStore) -> None:
    async with open_store() as store:
        new = queued(fingerprint="a")
        first, second = await store.add([new, new])
        assert (first.fresh, second.fresh) == (True, False) and first.task == second.task


async def test_a_claim_does_what_the_table_says(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await add(store, files=(IMAGE,), input=b'{"a":1}')
        (taken,) = await claim(store)
        change = decide(task, Event.CLAIM, Facts(now=NOW, lease_until=LEASE, node=NODE))
        assert taken == msgspec.structs.replace(change.after, event_count=2)
        assert await stored(store, task) == taken
        assert (await store.events(ALL, task.id))[1:] == [msgspec.structs.replace(change.events[0], n=2)]
        assert await claim(store) == []


async def test_tasks_are_claimed_first_come_first_served(open_store: OpenStore) -> None:
    async with open_store() as store:
        tasks = [await add(store) for _ in range(5)]
        assert [task.id for task in await claim(store, limit=3)] == [task.id for task in tasks[:3]]
        assert [task.id for task in await claim(store, limit=3)] == [task.id for task in tasks[3:]]


async def test_priority_goes_first_and_waiting_makes_up_for_it(open_store: OpenStore) -> None:
    async with open_store() as store:
        old = await add(store, priority=0, now=NOW - 300)
        low, high, middle = [await add(store, priority=priority) for priority in (-1, 4, 3)]
        ids = [task.id for task in await claim(store)]
        assert ids == [task.id for task in (old, high, middle, low)]


async def test_several_jobs_of_a_queue_share_one_line(open_store: OpenStore) -> None:
    async with open_store() as store:
        tasks = [await add(store, job=job, now=NOW + i) for i, job in enumerate(["a", "b", "c", "a", "b"])]
        taken = await claim(store, "a", "b", limit=3, now=NOW + 10)
        assert [task.id for task in taken] == [tasks[i].id for i in (0, 1, 3)]


async def test_several_asks_are_served_in_one_call(open_store: OpenStore) -> None:
    async with open_store() as store:
        image, mail = await add(store), await add(store, queue="mail", job="send")
        await add(store, queue="mail", job="other")
        asks = [Ask(queue="mail", jobs=("send",), limit=5), Ask(queue="images", jobs=("resize",), limit=5)]
        taken = await store.claim(asks, node=NODE, now=NOW, lease_until=LEASE)
        assert [task.id for task in taken] == [mail.id, image.id]


async def test_two_asks_for_the_same_job_take_different_tasks(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.add([queued() for _ in range(5)])
        ask = Ask(queue="images", jobs=("resize",), limit=2)
        taken = await store.claim([ask, ask], node=NODE, now=NOW, lease_until=LEASE)
        assert len({task.id for task in taken}) == 4


async def test_claims_at_the_same_time_take_different_tasks(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.add([queued() for _ in range(20)])
        taken = await asyncio.gather(*(claim(store, limit=3) for _ in range(10)))
        ids = [task.id for tasks in taken for task in tasks]
        assert len(ids) == len(set(ids)) == 20


async def test_a_delayed_task_is_not_claimed_before_its_time(open_store: OpenStore) -> None:
    async with open_store() as store:
        late, later = await add(store, run_at=NOW + 5), await add(store, run_at=NOW + 9)
        assert await claim(store, now=NOW + 4.9) == []
        assert [task.id for task in await claim(store, now=NOW + 5)] == [late.id]
        assert [task.id for task in await claim(store, now=NOW + 60)] == [later.id]


async def test_a_task_past_its_deadline_is_not_claimed(open_store: OpenStore) -> None:
    async with open_store() as store:
        await add(store, deadline_at=NOW + 5)
        assert await claim(store, now=NOW + 5) == []
        assert len(await claim(store, now=NOW + 4.9)) == 1


async def test_every_transition_is_stored_as_decided(open_store: OpenStore) -> None:
    async with open_store() as store:
        error = TaskError(type="ValueError", message="no", traceback="line 1")
        task = await claimed(store)
        task = await move(store, task, Event.RETRY, error=error, run_at=NOW + 2, worker_died=True)
        assert (task.status, task.error, task.losses, task.run_at) == (Status.QUEUED, error, 1, NOW + 2)
        (task,) = await claim(store, now=NOW + 2)
        task = await move(store, task, Event.RELEASE)
        assert (task.status, task.attempt, task.node) == (Status.QUEUED, 1, None)
        (task,) = await claim(store, now=NOW + 2)
        task = await move(store, task, Event.ASK_CANCEL)
        assert (task.status, task.cancel_requested, task.lease_until) == (Status.RUNNING, True, NOW + 32)
        task = await move(store, task, Event.FAIL, reason=Reason.ERROR, error=error, keep_seconds=5.0)
        assert (task.status, task.reason, task.expires_at) == (Status.FAILED, Reason.ERROR, NOW + 6)
        task = await move(store, task, Event.REVIVE)
        assert (task.status, task.error, task.finished_at, task.expires_at) == (Status.QUEUED, None, None, None)
        (task,) = await claim(store, now=NOW + 3)
        file = FileRef(blob="t/1/out/0", name="a.jpg", type="image/jpeg", size=3)
        task = await move(store, task, Event.SUCCEED, result_file=file)
        assert (task.status, task.result_file, task.attempt) == (Status.DONE, file, 3)
        kinds = [msgspec.json.decode(event.data)["status"] for event in await store.events(ALL, task.id)]
        assert kinds == "QUEUED RUNNING QUEUED RUNNING QUEUED RUNNING RUNNING FAILED QUEUED RUNNING DONE".split()


async def test_a_late_worker_cannot_finish_a_task_that_moved_on(open_store: OpenStore) -> None:
    async with open_store() as store:
        late = await claimed(store)
        await move(store, late, Event.RETRY, run_at=NOW)
        await claim(store, now=NOW + 1)
        before = await stored(store, late)
        assert await store.apply([decide(late, Event.SUCCEED, Facts(now=NOW, result=b'"old"'))]) == [False]
        assert await stored(store, late) == before
        assert len(await store.events(ALL, late.id)) == before.event_count == 4


async def test_of_two_changes_decided_on_one_state_the_first_is_written(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store)
        finish = decide(task, Event.SUCCEED, Facts(now=NOW, result=b"1"))
        cancel = decide(task, Event.CANCEL, Facts(now=NOW))
        assert await store.apply([finish, cancel]) == [True, False]
        crossing = await asyncio.gather(*(store.apply([finish]) for _ in range(5)))
        assert crossing == [[False]] * 5
        assert (await stored(store, task)).status is Status.DONE


async def test_changes_that_follow_each_other_are_written_together(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await add(store)
        cancel = decide(task, Event.CANCEL, Facts(now=NOW))
        delete = decide(cancel.after, Event.DELETE, Facts(now=NOW))
        assert await store.apply([cancel, delete]) == [True, True]
        assert (await stored(store, task)).status is Status.DELETED
        assert [event.n for event in await store.events(ALL, task.id)] == [1, 2, 3]


async def test_a_change_to_a_task_that_is_not_there_is_not_written(open_store: OpenStore) -> None:
    async with open_store() as store:
        stranger = msgspec.structs.replace(created(), key=77)
        assert await store.apply([decide(stranger, Event.CANCEL, Facts(now=NOW))]) == [False]


async def test_a_change_leaves_what_was_noted_and_renewed_meanwhile(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store)
        await store.renew([task], lease_until=LEASE + 50)
        await store.note([Note(task=task, progress=Progress(fraction=0.5), events=(log("half"),))])
        after = await move(store, task, Event.ASK_CANCEL)
        assert (after.lease_until, after.progress, after.event_count) == (LEASE + 50, Progress(fraction=0.5), 4)
        assert [event.n for event in await store.events(ALL, task.id)] == [1, 2, 3, 4]


async def test_the_next_attempt_starts_without_progress(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store)
        await store.note([Note(task=task, progress=Progress(fraction=0.5))])
        assert (await move(store, task, Event.RETRY, run_at=NOW + 1)).progress is None


async def test_deleting_drops_everything_but_the_row_and_its_status_events(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store, tags={"a": "b"}, input=b'{"secret":1}', files=(IMAGE,))
        await store.note([Note(task=task, progress=Progress(fraction=0.5), events=(log("secret"),))])
        task = await move(store, task, Event.SUCCEED, result=b'"secret"')
        task = await move(store, task, Event.DELETE)
        assert (task.input, task.files, task.result, task.tags, task.progress) == (b"{}", (), None, {}, None)
        assert task.payload_dropped and task.event_count == 5
        assert [(event.n, event.kind) for event in await store.events(ALL, task.id)] == [
            (n, "status") for n in (1, 2, 4, 5)
        ]


async def test_what_is_said_of_a_task_never_counts_for_another_that_has_its_key(open_store: OpenStore) -> None:
    """A database that lost its newest tasks in a crash gives their keys out again, while attempts of those go on."""
    async with open_store() as store:
        task = await claimed(store)
        lost = msgspec.structs.replace(task, id=created().id)
        assert await store.note([Note(task=lost, progress=Progress(fraction=0.5))]) == [False]
        assert await store.renew([lost], lease_until=LEASE + 30) == [Renewal(held=False)]
        assert await store.apply([decide(lost, Event.SUCCEED, Facts(now=NOW, result=b"1"))]) == [False]
        assert await stored(store, task) == task


async def test_notes_are_kept_only_from_the_attempt_that_holds_the_task(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store)
        other_node = msgspec.structs.replace(task, node="node-2")
        other_attempt = msgspec.structs.replace(task, attempt=2)
        good, *bad = [Note(task=it, events=(log("x"),)) for it in (task, other_node, other_attempt)]
        assert await store.note([good, *bad, good]) == [True, False, False, True]
        await move(store, task, Event.SUCCEED)
        assert await store.note([good]) == [False]
        kinds = [event.kind for event in await store.events(ALL, task.id)]
        assert kinds == ["status", "status", "log", "log", "status"]


async def test_a_note_of_files_replaces_them_and_stays_through_the_changes_that_follow(open_store: OpenStore) -> None:
    asked = FileRef(blob="t/1/in/0", name="", type="", size=0, field="image", url="https://example.com/cat.jpg?sig=1")
    async with open_store() as store:
        before = await claimed(store, files=(asked,), id="a")
        assert before.files == (asked,)
        foreign = msgspec.structs.replace(before, node="other")
        noted = await store.note([Note(task=before, files=(IMAGE,)), Note(task=foreign, files=(asked,))])
        assert noted == [True, False]
        assert (await stored(store, before)).files == (IMAGE,)
        assert (await move(store, before, Event.RETRY, run_at=NOW)).files == (IMAGE,)


async def test_where_a_result_goes_is_kept_until_it_is_there(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store, upload_to="https://example.com/there?sig=1")
        assert (await stored(store, task)).upload_to == "https://example.com/there?sig=1"
        failed = await move(store, task, Event.FAIL, reason=Reason.UPLOAD_FAILED, result=b"7", result_file=IMAGE)
        assert (failed.result, failed.result_file, failed.upload_to) == (b"7", IMAGE, task.upload_to)
        await move(store, failed, Event.REVIVE)
        (again,) = await claim(store, now=NOW + 2)
        assert (await move(store, again, Event.SUCCEED, result=b"8")).upload_to == ""


async def test_notes_and_renewals_go_on_while_a_cancel_is_asked_for(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store)
        assert await store.renew([task], lease_until=LEASE) == [Renewal(held=True)]
        await move(store, task, Event.ASK_CANCEL)
        assert await store.note([Note(task=task, events=(log("still here"),))]) == [True]
        assert await store.renew([task], lease_until=LEASE) == [Renewal(held=True, cancel_requested=True)]


async def test_a_renewal_prolongs_the_lease_and_nothing_else(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await claimed(store)
        await store.renew([task], lease_until=LEASE + 100)
        assert await stored(store, task) == msgspec.structs.replace(task, lease_until=LEASE + 100)


async def test_a_lost_lease_is_told(open_store: OpenStore) -> None:
    async with open_store() as store:
        task, stranger = await claimed(store), msgspec.structs.replace(created(), key=99)
        await move(store, task, Event.RETRY, run_at=NOW)
        assert await store.renew([task, stranger], lease_until=LEASE) == [Renewal(held=False)] * 2
        await claim(store, now=NOW + 1)
        assert await store.renew([task], lease_until=LEASE) == [Renewal(held=False)]


async def test_a_task_of_another_owner_does_not_exist(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await add(store, owner="ann")
        for scope, found in (
            (ALL, task),
            (Scope(owner="ann"), task),
            (Scope(owner="bob"), None),
            (Scope(owner=""), None),
        ):
            assert await store.get(scope, task.id) == found
            assert len(await store.events(scope, task.id)) == (0 if found is None else 1)


async def test_ids_that_are_not_uuids_work_too(open_store: OpenStore) -> None:
    async with open_store() as store:
        for task_id in ("t1", "A" * 32, str(created().id).upper(), "ü"):
            task = await add(store, id=task_id)
            assert (await stored(store, task)).id == task_id


async def test_a_finished_task_is_read_back_with_its_result(open_store: OpenStore) -> None:
    async with open_store() as store:
        task = await done(store)
        assert (task.status, task.result, task.lease_until, task.finished_at) == (Status.DONE, b'"good"', None, NOW + 1)
