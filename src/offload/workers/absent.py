"""The Workers port of a node that has none: what it accepts is run by other nodes."""

from offload.core.task import Seconds, Task
from offload.ports import Listener, Room, Work, WorkerState


class NoWorkers:
    """No room, ever."""

    async def start(self, listener: Listener) -> None:
        pass

    def jobs(self) -> list[str]:
        return []

    def rooms(self) -> list[Room]:
        return []

    def run(self, work: Work) -> None:
        raise AssertionError("there is no room for an attempt")

    def cancel(self, task: Task) -> None:
        pass

    def workers(self) -> list[WorkerState]:
        return []

    async def stop(self, *, grace_seconds: Seconds) -> None:
        pass
