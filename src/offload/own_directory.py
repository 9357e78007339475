"""Directories that belong to one process for as long as it lives; what dead ones left behind is removed."""

import fcntl
import os
import secrets
import shutil
import weakref
from contextlib import suppress
from pathlib import Path


class OwnDirectory:
    """A new directory below `above`, which other processes leave alone until this object or this process is gone.

    The lock is one of the system's, on the directory itself: a kill cannot leave it behind.
    """

    def __init__(self, above: Path) -> None:
        above.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(above)
        fd = None
        while fd is None:
            self.path = above / secrets.token_hex(16)
            self.path.mkdir(mode=0o700)
            fd = _locked(self.path)
        self._close = weakref.finalize(self, os.close, fd)

    def remove(self) -> None:
        """Remove the directory with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._close()


def _sweep(above: Path) -> None:
    """Remove what processes that are gone have left."""
    for left in above.iterdir():
        if not left.is_dir():
            left.unlink(missing_ok=True)
        elif (fd := _locked(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(fd)


def _locked(path: Path) -> int | None:
    """Return the descriptor of a directory that is locked now; None when a process has it, or it is gone."""
    with suppress(FileNotFoundError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(FileNotFoundError, BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(fd).st_ino:  # else it was taken for a dead one's, and removed
                return fd
        os.close(fd)
    return None
