"""The sweep of blobs that belong to no task takes what a crash left, and nothing that a client is sending just now."""

import os
from pathlib import Path

from offload.blobs.local import LocalBlobs
from offload.core.task import FileRef, Status
from tests.unit.engine.kit import Wrapped, kit
from tests.unit.engine.steps import CATALOG, new_id, status_is
from tests.unit.engine.waiting import until


class SentAgain(LocalBlobs):
    """Blobs whose sweep is crossed by a client that sends its task, of the same id, once more."""

    def __init__(self, blobs: LocalBlobs, task_id: str) -> None:
        super().__init__(blobs.path("t").parent)
        self.old, self.new = f"t/{task_id}/in/1/0", f"t/{task_id}/in/2/0"
        self.swept: list[str] = []

    async def start(self) -> None:
        await super().start()
        await self.put(self.old)
        for path in (self.path(self.old), *self.path(self.old).parents[:3]):
            os.utime(path, (1_000_000, 1_000_000))

    async def put(self, name: str) -> None:
        writer = self.writer(name, bytes_max=10)
        await writer.write(b"x")
        await writer.commit()

    async def delete(self, prefix: str, *, older_than_seconds: float | None = None) -> None:
        await self.put(self.new)
        await super().delete(prefix, older_than_seconds=older_than_seconds)
        self.swept.append(prefix)


async def test_a_task_that_is_sent_again_while_what_a_crash_left_of_it_is_swept_keeps_its_files(tmp_path: Path) -> None:
    task_id = new_id()
    wrapped = Wrapped(lambda blobs: SentAgain(blobs, task_id))
    async with kit(tmp_path, CATALOG, wrap_blobs=wrapped) as it:
        blobs = wrapped.made
        await blobs.start()
        it.clock.at += 1
        await until(lambda: bool(blobs.swept))
        assert blobs.swept == [f"t/{task_id}"] and not blobs.path(blobs.old).exists()
        file = FileRef(blob=blobs.new, name="x", type="text/plain", size=1, field="file")
        await it.submit(task_id=task_id, files=(file,))
        await until(lambda: task_id in it.workers.running)
        assert Path(it.workers.handed[task_id].paths[blobs.new]).read_bytes() == b"x"
        it.succeed(task_id)
        await status_is(it, task_id, Status.DONE)
