"""A file system for SQLite whose disk can refuse to confirm what was written to the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw


class FailingSyncs(apsw.VFS):
    """What was written is there, as in the memory of the kernel, and `failures` calls of fsync fail."""

    def __init__(self) -> None:
        self.failures = 0
        super().__init__("failing-syncs", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: FailingSyncs, name: Any, flags: list[int]) -> None:
        self._disk, self._is_log = disk, bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:
        if self._is_log and self._disk.failures:
            self._disk.failures -= 1
            raise apsw.IOError("the disk does not confirm")
        super().xSync(flags)


@contextmanager
def failing_syncs() -> Iterator[FailingSyncs]:
    """Put it below all SQLite files that are opened meanwhile."""
    disk = FailingSyncs()
    try:
        yield disk
    finally:
        disk.unregister()
