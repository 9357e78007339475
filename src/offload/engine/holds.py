"""What a dispatcher knows of a task that its node has, and who else hears what it hears."""

from typing import Protocol

import msgspec

from offload.core.task import Record, Seconds, Task
from offload.engine.parts import Timing


class Hold(Record, frozen=True, kw_only=True):
    """A task that this node has, as it is by now."""

    task: Task
    since: int
    """The version with which it was claimed: reports of an older one are of an attempt that lost its lease."""

    def is_of(self, reported: Task) -> bool:
        return reported.version >= self.since

    def needs_renewal(self, now: Seconds, timing: Timing) -> bool:
        """Short tasks end before this is ever true: their leases cost nothing."""
        assert self.task.lease_until is not None
        return self.task.lease_until - now < timing.lease_seconds - timing.heartbeat_seconds / 2

    def with_files(self, fetched: Task) -> "Hold":
        """Return it with those of its files that are here by now."""
        newest = msgspec.structs.replace(self.task, files=fetched.files, input_bytes=fetched.input_bytes)
        return msgspec.structs.replace(self, task=newest)


class Line(Protocol):
    """Who else wants to know when tasks are ready."""

    def came(self, task: Task) -> None:
        """One became QUEUED on this node."""

    def ready(self, queue: str, job: str) -> None: ...

    def look_everywhere(self) -> None: ...

    def room_freed(self) -> None:
        """Fewer files are being fetched than before."""
