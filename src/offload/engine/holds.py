"""What a dispatcher knows of a task that its node has, and who else hears what it hears."""

from typing import Protocol

from offload.core.task import Record, Task


class Hold(Record, frozen=True, kw_only=True):
    """A task that this node has, as it is by now."""

    task: Task
    since: int
    """The version with which it was claimed: reports of an older one are of an attempt that lost its lease."""

    def is_of(self, reported: Task) -> bool:
        return reported.version >= self.since


class Line(Protocol):
    """Who else wants to know when tasks are ready."""

    def came(self, task: Task) -> None:
        """One became QUEUED on this node."""

    def ready(self, queue: str, job: str) -> None: ...

    def look_everywhere(self) -> None: ...

    def room_freed(self) -> None:
        """Fewer files are being fetched than before."""
