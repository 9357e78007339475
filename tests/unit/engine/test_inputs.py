"""Input files by URL: fetched before the run, some at a time, tried again, and given up without harm to others."""

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from offload.core.task import ALL, FileRef, Reason, Status
from offload.core.transitions import Event, Facts, decide
from offload.engine.parts import Fetching
from tests.egress.test_downloads import DATA, TAG, Breaking, gives
from tests.egress.zoo import Behaviour, Visit, Zoo, redirects, says
from tests.unit.engine.kit import Kit, kit
from tests.unit.engine.steps import BROKEN, CATALOG, status_is
from tests.unit.engine.waiting import until

QUICK = Fetching(pause_seconds=0.01, seconds_max=20.0)
NAMED = ("Content-Type: image/jpeg", 'Content-Disposition: attachment; filename="cat.jpg"')


async def submit(it: Kit, *urls: str, job: str = "noop", **options: object) -> str:
    task_id = str(uuid.uuid4())
    files = tuple(
        FileRef(blob=f"t/{task_id}/in/{n}", name="", type="", size=0, field=f"images.{n}", url=url)
        for n, url in enumerate(urls)
    )
    return (await it.submit(job, task_id=task_id, files=files, **options)).id


class Failing:
    """Answer so a few times, then give DATA."""

    def __init__(self, times: int, status: str = "500 No") -> None:
        self.left, self.status = times, status

    async def __call__(self, visit: Visit) -> None:
        self.left -= 1
        if self.left >= 0:
            await visit.answer(self.status)
        else:
            await visit.answer("200 OK", DATA, *NAMED)


class Gate:
    """Begin an answer, and end it when the test says so."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0

    async def __call__(self, visit: Visit) -> None:
        self.waiting += 1
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await self.opened.wait()
        await visit.say(b"cd")


async def test_a_file_by_url_is_here_before_the_task_runs_and_its_url_is_forgotten(tmp_path: Path) -> None:
    async with Zoo({"/cat": gives(DATA, *NAMED)}).open() as zoo, kit(tmp_path, CATALOG, fetching=QUICK) as it:
        task_id = await submit(it, zoo.url("/cat?sig=1"), zoo.url("/cat"))
        await until(lambda: task_id in it.workers.running)
        for task in (await it.get(task_id), it.workers.running[task_id]):
            assert [(file.name, file.type, file.size, file.url) for file in task.files] == [
                ("cat.jpg", "image/jpeg", len(DATA), "")
            ] * 2
            read = b"".join([piece async for piece in it.engine.blobs.read(task.files[0].blob)])
            assert read == DATA
        held = (await it.get(task_id)).input_bytes
        assert held >= 2 * len(DATA)  # what came by URL counts in what the queue holds
        (queue,) = [queue for queue in await it.engine.queues() if queue.bytes]
        assert queue.bytes == held
        stats = it.engine.parts.stats
        assert (stats.carried["fetch", "done"], stats.carried_bytes["fetch"]) == (2, 2 * len(DATA))
        it.succeed(task_id)
        await status_is(it, task_id, Status.DONE)
        assert sum(queue.bytes for queue in await it.engine.queues()) == 0


async def test_a_retry_does_not_fetch_again(tmp_path: Path) -> None:
    async with Zoo({"/cat": gives(DATA)}).open() as zoo, kit(tmp_path, CATALOG, fetching=QUICK) as it:
        task_id = await submit(it, zoo.url("/cat"), job="slow")
        await until(lambda: task_id in it.workers.running)
        it.workers.end(task_id, BROKEN)
        await status_is(it, task_id, Status.QUEUED)
        it.clock.at += 20.0
        await until(lambda: task_id in it.workers.running)
        assert it.workers.running[task_id].attempt == 2
        assert zoo.paths() == ["/cat"]


@pytest.mark.parametrize("behaviour", [Failing(2), Failing(1, "429 Slowly"), Breaking(TAG, breaks=2)])
async def test_what_is_temporary_is_tried_again_within_the_attempt(tmp_path: Path, behaviour: Behaviour) -> None:
    async with Zoo({"/cat": behaviour}).open() as zoo, kit(tmp_path, CATALOG, fetching=QUICK) as it:
        task_id = await submit(it, zoo.url("/cat"))
        await until(lambda: task_id in it.workers.running)
        assert it.workers.running[task_id].attempt == 1
        assert it.workers.running[task_id].files[0].size == len(DATA)


@pytest.mark.parametrize(
    ("behaviour", "kind", "said"),
    [
        (says(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), "SourceUnavailable", "404"),
        (says(b"HTTP/1.1 403 Expired\r\nContent-Length: 0\r\n\r\n"), "SourceUnavailable", "403"),
        (gives(DATA), "BodyTooLarge", "1,000"),
        (redirects("gopher://127.0.0.1/"), "SourceUnavailable", "redirects"),
    ],
)
async def test_what_will_never_come_fails_the_task_and_burns_no_attempt(
    tmp_path: Path, behaviour: Behaviour, kind: str, said: str
) -> None:
    limits = Fetching(pause_seconds=0.01, bytes_max=1_000)
    async with Zoo({"/cat": behaviour}).open() as zoo, kit(tmp_path, CATALOG, fetching=limits) as it:
        task_id = await submit(it, zoo.url("/cat?sig=hush"))
        failed = await status_is(it, task_id, Status.FAILED)
        assert (failed.reason, failed.attempt) == (Reason.INPUT_UNAVAILABLE, 0)
        assert failed.error is not None and failed.error.type == kind and said in failed.error.message
        assert len(zoo.visits) == 1 and not it.workers.started
        assert "hush" not in failed.error.message
        assert await _blobs(it, task_id) == 0


@pytest.mark.parametrize("target", ["http://10.255.255.1/", "http://169.254.169.254/latest/meta-data"])
async def test_a_redirect_to_a_closed_address_is_never_followed(tmp_path: Path, target: str) -> None:
    async with Zoo({"/cat": redirects(target)}).open() as zoo, kit(tmp_path, CATALOG, fetching=QUICK) as it:
        task_id = await submit(it, zoo.url("/cat"), job="slow")
        waits = await status_is(it, task_id, Status.QUEUED)
        while waits.error is None:
            waits = await it.get(task_id)
            await asyncio.sleep(0)
        assert (waits.attempt, waits.error.type) == (1, "Unreachable")
        it.clock.at += 20.0
        failed = await status_is(it, task_id, Status.FAILED)
        assert (failed.reason, failed.attempt) == (Reason.INPUT_UNAVAILABLE, 2)
        assert not it.workers.started


async def test_files_of_a_task_are_bounded_together(tmp_path: Path) -> None:
    limits = Fetching(bytes_max=len(DATA) + 5)
    async with Zoo({"/cat": gives(DATA)}).open() as zoo, kit(tmp_path, CATALOG, fetching=limits) as it:
        failed = await status_is(it, await submit(it, zoo.url("/cat"), zoo.url("/cat")), Status.FAILED)
        assert failed.error is not None and failed.error.type == "BodyTooLarge"


async def test_slow_sources_keep_no_worker_from_other_tasks(tmp_path: Path) -> None:
    gate = Gate()
    limits = Fetching(at_once_max=2)
    async with Zoo({"/slow": gate}).open() as zoo, kit(tmp_path, CATALOG, fetching=limits) as it:
        slow = [await submit(it, zoo.url("/slow")) for _ in range(2)]
        await until(lambda: gate.waiting == 2)
        quick = await submit(it)
        await until(lambda: quick in it.workers.running)
        gate.opened.set()
        await until(lambda: not it.engine._dispatcher._inputs._preparing)
        assert list(it.workers.running) == [quick]  # the others have come, and wait for the one place
        it.succeed(quick)
        for _ in slow:
            await until(lambda: bool(it.workers.running))
            it.succeed(next(iter(it.workers.running)))
        for task_id in slow:
            await status_is(it, task_id, Status.DONE)


async def test_only_so_many_files_are_fetched_at_a_time(tmp_path: Path) -> None:
    gate = Gate()
    limits = Fetching(at_once_max=2)
    async with Zoo({"/slow": gate}).open() as zoo, kit(tmp_path, CATALOG, fetching=limits) as it:
        tasks = [await submit(it, zoo.url("/slow")) for _ in range(5)]
        await until(lambda: gate.waiting == 2 and it.engine._dispatcher.held() == 3)
        assert gate.waiting == 2
        gate.opened.set()
        for _ in tasks:
            await until(lambda: bool(it.workers.running))
            it.succeed(next(iter(it.workers.running)))
        for task_id in tasks:
            await status_is(it, task_id, Status.DONE)


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_cancel_stops_a_fetch(tmp_path: Path, how: str) -> None:
    gate = Gate()
    async with Zoo({"/slow": gate}).open() as zoo, kit(tmp_path, CATALOG) as it:
        task_id = await submit(it, zoo.url("/slow"))
        await until(lambda: gate.waiting == 1)
        end: Callable[..., object] = getattr(it.engine, how)
        await end(ALL, task_id)  # type: ignore[misc]
        ended = await status_is(it, task_id, Status.CANCELED if how == "cancel" else Status.DELETED)
        assert ended.lease_until is None and not it.workers.started
        async with asyncio.timeout(10):
            with pytest.raises(ConnectionError):
                while True:  # the connection to the source is gone too
                    await zoo.visits[0].say(b"x")
                    await asyncio.sleep(0.01)
        assert await _blobs(it, task_id) == 0


async def test_a_cancel_reaches_a_task_that_waits_for_a_place(tmp_path: Path) -> None:
    gate = Gate()
    async with Zoo({"/slow": gate}).open() as zoo, kit(tmp_path, CATALOG) as it:
        slow = await submit(it, zoo.url("/slow"))
        await until(lambda: gate.waiting == 1)
        quick = await submit(it)
        await until(lambda: quick in it.workers.running)
        gate.opened.set()
        await until(lambda: len(it.engine._dispatcher._arrived) == 1)
        await it.engine.cancel(ALL, slow)
        await status_is(it, slow, Status.CANCELED)
        assert it.workers.started == [quick]


async def test_a_stop_gives_back_what_is_being_fetched(tmp_path: Path) -> None:
    gate = Gate()
    async with Zoo({"/slow": gate}).open() as zoo, kit(tmp_path, CATALOG) as it:
        task_id = await submit(it, zoo.url("/slow"))
        await until(lambda: gate.waiting == 1)
        await it.engine.stop(0.0)
        back = await it.get(task_id)
        assert (back.status, back.attempt) == (Status.QUEUED, 0)
        assert back.files[0].url


async def test_a_task_that_comes_back_to_a_node_that_still_fetches_for_it_is_run(tmp_path: Path) -> None:
    gate = Gate()
    async with Zoo({"/cat": gate}).open() as zoo, kit(tmp_path, CATALOG, fetching=QUICK) as it:
        task_id = await submit(it, zoo.url("/cat"))
        await until(lambda: gate.waiting == 1)
        it.clock.at += 1.0
        # as a node does that finds the lease ended: nothing has begun, so the attempt's number comes again
        given_back = decide(await it.get(task_id), Event.RELEASE, Facts(now=it.clock.now()))
        assert await it.store.apply([given_back]) == [True]
        await until(lambda: gate.waiting == 2)
        gate.opened.set()
        await until(lambda: task_id in it.workers.running)
        assert it.workers.running[task_id].attempt == 1
        it.succeed(task_id)
        await status_is(it, task_id, Status.DONE)


async def test_the_lease_is_kept_while_a_file_comes(tmp_path: Path) -> None:
    gate = Gate()
    async with Zoo({"/slow": gate}).open() as zoo, kit(tmp_path, CATALOG) as it:
        task_id = await submit(it, zoo.url("/slow"))
        await until(lambda: gate.waiting == 1)
        first = (await it.get(task_id)).lease_until
        assert first is not None
        it.clock.at += 20.0
        while (await it.get(task_id)).lease_until == first:
            await asyncio.sleep(0.01)
        it.clock.at += 20.0
        gate.opened.set()
        await until(lambda: task_id in it.workers.running)
        assert it.workers.running[task_id].attempt == 1


async def _blobs(it: Kit, task_id: str) -> int:
    await until(lambda: not it.engine._dispatcher._inputs._preparing)
    return len(await it.engine.blobs.prefixes(f"t/{task_id}/in", older_than_seconds=0.0))
