"""Several kinds of workers as one: each runs its own jobs."""

from collections.abc import Sequence

from offload.core.task import Seconds, Task
from offload.ports import Listener, Room, Work, Workers, WorkerState


class Beside:
    """The Workers port over others, which have no job in common."""

    def __init__(self, workers: Sequence[Workers]) -> None:
        self._workers = workers
        self._of_job = {job: each for each in workers for job in each.jobs()}

    async def start(self, listener: Listener) -> None:
        for each in self._workers:
            await each.start(listener)

    def jobs(self) -> list[str]:
        return list(self._of_job)

    def rooms(self) -> list[Room]:
        return [room for each in self._workers for room in each.rooms()]

    def run(self, work: Work) -> None:
        self._of_job[work.task.job].run(work)

    def cancel(self, task: Task) -> None:
        if task.job in self._of_job:
            self._of_job[task.job].cancel(task)

    def workers(self) -> list[WorkerState]:
        return [state for each in self._workers for state in each.workers()]

    async def stop(self, *, grace_seconds: Seconds) -> None:
        for each in reversed(self._workers):
            await each.stop(grace_seconds=grace_seconds)
