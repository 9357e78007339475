"""Results that are pushed: before DONE, tried again, and kept when nobody takes them."""

from pathlib import Path

import pytest

from offload.core.outcome import LocalFile, Succeeded
from offload.core.task import ALL, Reason, Status
from offload.engine.parts import Uploading
from tests.egress.zoo import Behaviour, Visit, Zoo, never_read, reset, stay
from tests.unit.engine.kit import Kit, kit
from tests.unit.engine.steps import CATALOG, status_is, submit
from tests.unit.engine.waiting import until

QUICK = Uploading(pause_seconds=0.01)
MADE = b"made" * 50_000


class Taking:
    """Do something else a few times, then take what comes."""

    def __init__(self, *first: str | Behaviour) -> None:
        self.first = list(first)

    async def __call__(self, visit: Visit) -> None:
        behaviour = self.first.pop(0) if self.first else "200 OK"
        if not isinstance(behaviour, str):
            await behaviour(visit)
            return
        await visit.read_body()
        await visit.answer(behaviour)


async def drops_the_end(visit: Visit) -> None:
    await visit.reader.readexactly(int(int(visit.headers["content-length"]) * 0.99))
    visit.reset()


async def run(it: Kit, url: str, type: str = "image/png") -> str:
    """Let a task return a file that is to be pushed."""
    task_id = await submit(it, upload_to=url)
    await until(lambda: task_id in it.workers.running)
    root = Path(it.engine.blobs._root).parent  # type: ignore[attr-defined]
    made = root / f"made-{task_id}"
    made.write_bytes(MADE)
    it.workers.end(task_id, Succeeded(file=LocalFile(path=str(made), name="a.bin", type=type, size=len(MADE))))
    return task_id


@pytest.mark.parametrize("first", [(), ("500 No", "503 No"), ("429 Slowly",), (reset,), (drops_the_end,)])
async def test_a_file_is_pushed_whole_before_the_task_is_done(tmp_path: Path, first: tuple[str | Behaviour]) -> None:
    async with Zoo({"/there": Taking(*first)}).open() as zoo, kit(tmp_path, CATALOG, uploading=QUICK) as it:
        done = await status_is(it, await run(it, zoo.url("/there?sig=hush")), Status.DONE)
        last = zoo.visits[-1]
        assert (last.method, last.body, last.headers["content-type"]) == ("PUT", MADE, "image/png")
        assert len(zoo.visits) == len(first) + 1
        assert done.upload_to == "" and done.attempt == 1


async def test_only_of_an_applications_answer_the_head_is_left_out(tmp_path: Path) -> None:
    async with Zoo({"/there": Taking()}).open() as zoo, kit(tmp_path, CATALOG, uploading=QUICK) as it:
        await status_is(it, await run(it, zoo.url("/there"), "message/http"), Status.DONE)
        assert zoo.visits[-1].body == MADE and zoo.visits[-1].headers["content-type"] == "message/http"


@pytest.mark.parametrize(("status", "tries"), [("403 Expired", 1), ("302 Elsewhere", 1), ("500 No", 5)])
async def test_a_result_that_nobody_takes_fails_the_task_once_and_is_kept(
    tmp_path: Path, status: str, tries: int
) -> None:
    async with (
        Zoo({"/there": Taking(*[status] * 9)}).open() as zoo,
        kit(tmp_path, CATALOG, uploading=QUICK) as it,
    ):
        failed = await status_is(it, await run(it, zoo.url("/there?sig=hush")), Status.FAILED)
        assert (failed.reason, failed.attempt, len(zoo.visits)) == (Reason.UPLOAD_FAILED, 1, tries)
        assert it.engine.parts.stats.carried["push", "refused" if tries == 1 else "failed"] == tries
        assert failed.error is not None and "hush" not in failed.error.message
        assert failed.result_file is not None
        assert b"".join([piece async for piece in it.engine.blobs.read(failed.result_file.blob)]) == MADE


async def test_the_task_runs_and_the_result_stays_until_the_receiver_confirms(tmp_path: Path) -> None:
    async with Zoo({"/there": Taking(stay)}).open() as zoo, kit(tmp_path, CATALOG, uploading=QUICK) as it:
        task_id = await run(it, zoo.url("/there"))
        await until(lambda: len(zoo.visits) == 1)
        assert (await it.get(task_id)).status is Status.RUNNING
        await it.engine.cancel(ALL, task_id)
        assert (await status_is(it, task_id, Status.CANCELED)).result_file is None


async def test_a_stop_leaves_a_push_to_the_next_node(tmp_path: Path) -> None:
    async with Zoo({"/there": Taking(never_read)}).open() as zoo, kit(tmp_path, CATALOG, uploading=QUICK) as it:
        task_id = await run(it, zoo.url("/there"))
        await until(lambda: len(zoo.visits) == 1)
        await it.engine.stop(0.0)
        back = await it.get(task_id)
        assert (back.status, back.upload_to) == (Status.QUEUED, zoo.url("/there"))
