"""Copies of remote blobs on this machine's disk, so that workers read plain files; bounded, and empty after a start."""

import asyncio
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from offload.blobs.names import UNFINISHED, parts_of
from offload.core.errors import DiskFull
from offload.core.task import Seconds

PLACES_MAX = 1000
RETRY_SECONDS = 5
Source = Callable[[], AsyncIterator[bytes]]


@dataclass(slots=True)
class Copy:
    bytes: int = 0
    readers: int = 0
    """Attempts that may still open it: what is read is not dropped, however full the cache is."""
    free_at: Seconds = 0.0
    """When its last reader let go of it."""
    making: asyncio.Lock = field(default_factory=asyncio.Lock)
    made: bool = False


class Cache:
    """Copies below `root`, in a directory of this process's own, the least recently read dropped first."""

    def __init__(self, root: Path, *, bytes_max: int, idle_seconds_max: Seconds) -> None:
        self._root = root
        self._bytes_max = bytes_max
        self._idle_seconds_max = idle_seconds_max
        self._own = root
        self._lock: int | None = None
        self._copies: dict[str, Copy] = {}
        """The least recently read first."""

    @property
    def bytes(self) -> int:
        return sum(copy.bytes for copy in self._copies.values())

    async def start(self) -> None:
        """Take a directory that no other process has, and empty it: after a crash nobody knows what is whole."""
        await asyncio.to_thread(self._take_place)
        self._copies.clear()

    async def path(self, name: str, source: Source) -> Path:
        """Return the copy of a blob, made now unless it is there; it stays until its readers have released it."""
        path = self._own.joinpath(*parts_of(name))
        copy = self._copies.setdefault(name, Copy())
        copy.readers += 1
        try:
            async with copy.making:  # whoever comes meanwhile waits, and finds it
                if not copy.made:
                    copy.bytes = await self._make(path, source)
                    copy.made = True
        except BaseException:
            self._let_go(name, copy)
            raise
        self._copies[name] = self._copies.pop(name, copy)
        self._shrink()
        return path

    def release(self, prefix: str, *, again: bool) -> None:
        for name, copy in self._below(prefix):
            if copy.readers:
                self._let_go(name, copy)
            if copy.made and not copy.readers and not again:
                self._drop(name)
        self._shrink()

    def delete(self, prefix: str) -> None:
        for name, _ in self._below(prefix):
            self._drop(name)

    async def _make(self, path: Path, source: Source) -> int:
        unfinished = self._own / UNFINISHED / secrets.token_hex(16)
        try:
            return await self._fill(unfinished, path, source)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._shrink(to_bytes=0)
            raise DiskFull("there is no room to bring a file to this node", retry_seconds=RETRY_SECONDS) from error
        finally:
            unfinished.unlink(missing_ok=True)

    async def _fill(self, unfinished: Path, path: Path, source: Source) -> int:
        size = 0
        with open(unfinished, "xb", opener=_private) as file:
            async for piece in source():
                await asyncio.to_thread(file.write, piece)
                size += len(piece)
                if self.bytes + size > self._bytes_max:
                    self._shrink(to_bytes=max(0, self._bytes_max - size))
        for above in reversed(path.parents[: len(path.relative_to(self._own).parts) - 1]):
            above.mkdir(mode=0o700, exist_ok=True)
        unfinished.rename(path)
        return size

    def _let_go(self, name: str, copy: Copy) -> None:
        copy.readers -= 1
        loop = asyncio.get_running_loop()
        copy.free_at = loop.time()
        loop.call_later(self._idle_seconds_max + 0.01, self._shrink)
        if not copy.made and not copy.readers and self._copies.get(name) is copy:
            del self._copies[name]

    def _below(self, prefix: str) -> list[tuple[str, Copy]]:
        return [(name, copy) for name, copy in self._copies.items() if name == prefix or name.startswith(f"{prefix}/")]

    def _shrink(self, to_bytes: int | None = None) -> None:
        """Drop what nobody reads: too much of it, and what was not asked for in a long time."""
        left, most = self.bytes, self._bytes_max if to_bytes is None else to_bytes
        idle_since = asyncio.get_running_loop().time() - self._idle_seconds_max
        for name, copy in list(self._copies.items()):
            if copy.made and not copy.readers and (left > most or copy.free_at < idle_since):
                left -= copy.bytes
                self._drop(name)

    def _drop(self, name: str) -> None:
        path = self._own.joinpath(*parts_of(name))
        del self._copies[name]
        path.unlink(missing_ok=True)
        with suppress(OSError):  # of its directories, those that are empty now
            for above in path.parents:
                if above == self._own:
                    break
                above.rmdir()

    def _take_place(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._lock is None:
            self._lock, self._own = self._free_place()
        for found in self._own.iterdir():
            shutil.rmtree(found)
        (self._own / UNFINISHED).mkdir(mode=0o700)

    def _free_place(self) -> tuple[int, Path]:
        """Return a directory that is nobody's, and the lock that keeps it so until this process ends."""
        for number in range(PLACES_MAX):
            lock = os.open(self._root / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            own = self._root / str(number)
            own.mkdir(mode=0o700, exist_ok=True)
            return lock, own
        raise OSError(f"{self._root} is used by {PLACES_MAX} processes already")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
