"""API keys in memory, and counts of what their owners hold: the reference that every other store is compared with."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from offload.core.keys import ApiKey
from offload.core.task import FINAL, Seconds, Status, Task
from offload.ports import Depth, LooseFile


class MemoryKeys:
    """Keep every promise of KeyStore except durability. `due` are the tasks that the last claim knew to be due."""

    def __init__(
        self,
        tasks: Callable[[], Iterable[Task]],
        due: Callable[[str], Iterable[Task]],
        files: Callable[[], Iterable[LooseFile]],
    ) -> None:
        self._tasks = tasks
        self._due = due
        self._files = files
        self._found: dict[str, ApiKey] = {}
        self._secret = b""

    async def add(self, key: ApiKey) -> None:
        assert key.id not in self._found
        self._found[key.id] = key

    async def all(self) -> list[ApiKey]:
        return list(self._found.values())

    async def revoke(self, key_id: str, *, at: Seconds) -> bool:
        key = self._found.get(key_id)
        if key is not None and key.revoked_at is None:
            self._found[key_id] = msgspec.structs.replace(key, revoked_at=at)
        return key is not None

    async def note_uses(self, uses: Mapping[str, Seconds]) -> None:
        for key_id, at in uses.items():
            self._found[key_id] = msgspec.structs.replace(self._found[key_id], last_used_at=at)

    async def depths(self, owner: str) -> list[Depth]:
        unfinished = self._unfinished(owner)
        return [_depth(queue, unfinished, self._due(queue)) for queue in sorted({task.queue for task in unfinished})]

    async def secret(self, fresh: bytes) -> bytes:
        self._secret = self._secret or fresh
        return self._secret

    async def unfinished(self, owner: str) -> int:
        return len(self._unfinished(owner))

    async def stored_bytes(self, owner: str) -> int:
        of_tasks = sum(_bytes_of(task) for task in self._tasks() if task.owner == owner and not task.payload_dropped)
        return of_tasks + sum(loose.file.size for loose in self._files() if loose.owner == owner)

    def _unfinished(self, owner: str) -> list[Task]:
        return [task for task in self._tasks() if task.owner == owner and task.status not in FINAL]


def _depth(queue: str, unfinished: Iterable[Task], due: Iterable[Task]) -> Depth:
    here = [task for task in unfinished if task.queue == queue]
    active = [task for task in here if task.status is not Status.CREATED]
    keys = {task.key for task in due}
    return Depth(
        queue=queue,
        job="",
        queued=sum(task.status is Status.QUEUED for task in here),
        ready=sum(task.status is Status.QUEUED and task.key in keys for task in here),
        running=sum(task.status is Status.RUNNING for task in here),
        bytes=sum(task.input_bytes for task in active),
    )


def _bytes_of(task: Task) -> int:
    file = task.result_file.size if task.result_file is not None else 0
    return task.input_bytes + len(task.result or b"") + file
