"""While the files are away nothing is lost: results wait, attempts are not burnt, deletions are made up for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from offload.blobs.local import LocalBlobs
from offload.core.errors import StoreUnavailable
from offload.core.outcome import LocalFile, Succeeded
from offload.core.task import ALL, FileRef, Status
from offload.engine.parts import Uploading
from offload.ports import Blobs
from tests.egress.zoo import Visit, Zoo
from tests.unit.engine.kit import Kit, kit
from tests.unit.engine.steps import CATALOG, new_id, status_is
from tests.unit.engine.waiting import until, until_async


class AwayBlobs(LocalBlobs):
    """Blobs that cannot be had while they are away."""

    def __init__(self, blobs: LocalBlobs) -> None:
        super().__init__(blobs.path("t").parent)
        self.away = False
        self.asked = 0
        self.released: list[tuple[str, bool]] = []

    def _check(self) -> None:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away", retry_seconds=1)

    async def adopt(self, name: str, path: Path) -> tuple[int, str]:
        self._check()
        return await super().adopt(name, path)

    async def local_path(self, name: str) -> Path:
        self._check()
        return await super().local_path(name)

    async def delete(self, prefix: str, *, older_than_seconds: float | None = None) -> None:
        self._check()
        await super().delete(prefix, older_than_seconds=older_than_seconds)

    async def read(self, name: str, *, start: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        self._check()
        async for piece in super().read(name, start=start, size=size):
            yield piece

    def release(self, prefix: str, *, again: bool) -> None:
        self.released.append((prefix, again))


class Away:
    """An engine over blobs that can go away."""

    def __init__(self) -> None:
        self.blobs: AwayBlobs | None = None

    def wrap(self, blobs: LocalBlobs) -> Blobs:
        self.blobs = AwayBlobs(blobs)
        return self.blobs

    async def submit(self, it: Kit, job: str = "once", **options: object) -> str:
        """Make a task with one file."""
        task_id = new_id()
        assert self.blobs is not None
        writer = self.blobs.writer(f"t/{task_id}/in/0", bytes_max=10)
        await writer.write(b"hello")
        size, sha256 = await writer.commit()
        file = FileRef(blob=f"t/{task_id}/in/0", name="a", type="text/plain", size=size, sha256=sha256, field="a")
        return (await it.submit(job, task_id=task_id, files=(file,), **options)).id

    async def until_asked(self, times: int = 2) -> None:
        blobs = self.blobs
        assert blobs is not None
        before = blobs.asked
        await until(lambda: blobs.asked >= before + times)


def made(folder: Path) -> Succeeded:
    path = folder / "made.txt"
    path.write_bytes(b"made")
    return Succeeded(file=LocalFile(path=str(path), name="a.txt", type="text/plain", size=4))


async def test_a_finished_result_waits_until_it_can_be_stored(tmp_path: Path) -> None:
    away = Away()
    async with kit(tmp_path, CATALOG, wrap_blobs=away.wrap) as it:
        assert away.blobs is not None
        task_id = await away.submit(it)
        await until(lambda: task_id in it.workers.running)
        away.blobs.away = True
        it.workers.end(task_id, made(tmp_path))
        await away.until_asked()
        assert (await it.get(task_id)).status is Status.RUNNING
        away.blobs.away = False
        done = await status_is(it, task_id, Status.DONE)
        assert done.attempt == 1 and done.result_file is not None and done.result_file.size == 4
        blobs = away.blobs
        await until(lambda: bool(blobs.released))
        assert blobs.released == [(f"t/{task_id}", False)]


async def test_a_task_whose_input_is_away_waits_for_it_and_burns_no_attempt(tmp_path: Path) -> None:
    away = Away()
    async with kit(tmp_path, CATALOG, wrap_blobs=away.wrap) as it:
        assert away.blobs is not None
        away.blobs.away = True
        task_id = await away.submit(it)
        await away.until_asked()
        away.blobs.away = False
        await until(lambda: task_id in it.workers.running)
        it.succeed(task_id)
        assert (await status_is(it, task_id, Status.DONE)).attempt == 1


@pytest.mark.parametrize("ends", ["cancel", "stop"])
async def test_a_task_that_waits_for_its_input_can_be_canceled_and_given_back(tmp_path: Path, ends: str) -> None:
    away = Away()
    async with kit(tmp_path, CATALOG, wrap_blobs=away.wrap) as it:
        assert away.blobs is not None
        away.blobs.away = True
        task_id = await away.submit(it)
        await away.until_asked()
        if ends == "cancel":
            await it.engine.cancel(ALL, task_id)
            await status_is(it, task_id, Status.CANCELED)
        else:
            await it.engine.stop(0.0)
            assert ((await it.get(task_id)).status, (await it.get(task_id)).attempt) == (Status.QUEUED, 0)


@pytest.mark.parametrize("ends", ["cancel", "stop"])
async def test_a_result_that_cannot_be_stored_does_not_hold_up_a_cancel_or_a_stop(tmp_path: Path, ends: str) -> None:
    away = Away()
    async with kit(tmp_path, CATALOG, wrap_blobs=away.wrap) as it:
        assert away.blobs is not None
        task_id = await away.submit(it, job="noop")
        await until(lambda: task_id in it.workers.running)
        away.blobs.away = True
        it.workers.end(task_id, made(tmp_path))
        await away.until_asked()
        if ends == "cancel":
            await it.engine.cancel(ALL, task_id)
            await status_is(it, task_id, Status.CANCELED)
        else:
            await it.engine.stop(0.0)
            assert ((await it.get(task_id)).status, (await it.get(task_id)).attempt) == (Status.QUEUED, 0)


async def test_files_that_cannot_be_deleted_now_are_deleted_later(tmp_path: Path) -> None:
    away = Away()
    async with kit(tmp_path, CATALOG, wrap_blobs=away.wrap) as it:
        blobs = away.blobs
        assert blobs is not None
        task_id = await away.submit(it, run=False)
        blobs.away = True
        assert (await it.engine.delete(ALL, task_id)).status is Status.DELETED
        await away.until_asked()
        blobs.away = False

        async def gone() -> bool:
            return not blobs.path(f"t/{task_id}").exists()

        await until_async(gone)


async def test_no_try_of_an_upload_is_counted_while_our_own_file_is_away(tmp_path: Path) -> None:
    away = Away()
    taken: list[bytes] = []

    async def takes(visit: Visit) -> None:
        taken.append(await visit.read_body())
        await visit.answer("200 OK")

    uploading = Uploading(tries_max=1, pause_seconds=0.01, pause_seconds_max=0.02)
    async with (
        Zoo({"/there": takes}).open() as zoo,
        kit(tmp_path, CATALOG, wrap_blobs=away.wrap, uploading=uploading) as it,
    ):
        blobs = away.blobs
        assert blobs is not None
        task_id = await away.submit(it, upload_to=zoo.url("/there"))
        await until(lambda: task_id in it.workers.running)
        stored = blobs.adopt

        async def adopt_and_go(name: str, path: Path) -> tuple[int, str]:
            found = await stored(name, path)
            blobs.away = True
            return found

        blobs.adopt = adopt_and_go  # type: ignore[method-assign]
        it.workers.end(task_id, made(tmp_path))
        await away.until_asked(3)
        blobs.away = False
        await status_is(it, task_id, Status.DONE)
        assert b"made" in taken
