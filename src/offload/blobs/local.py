"""Blobs as files below one directory: whole and durable under their name, or not there at all."""

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from offload.blobs.names import UNFINISHED, parts_of
from offload.core.errors import BodyTooLarge, DiskFull, FileDoesNotExist
from offload.core.task import Seconds
from offload.own_directory import OwnDirectory

PIECE_BYTES = 1024 * 1024
"""What a writer gathers before a thread writes it: a thread for each small chunk would cost more than the writing."""
READ_BYTES = 256 * 1024
RETRY_SECONDS = 5
RENAME_TRIES = 10
Answer = TypeVar("Answer")


class LocalBlobs:
    """Keep blobs below `root`, which nodes on one machine, or with a directory in common, may share."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._making: OwnDirectory | None = None

    async def start(self) -> None:
        await _off_loop(self._start)

    def writer(self, name: str, *, bytes_max: int) -> "LocalBlobWriter":
        return LocalBlobWriter(self, name, bytes_max=bytes_max)

    async def adopt(self, name: str, path: Path) -> tuple[int, str]:
        return await _off_loop(lambda: self._adopt(self.path(name), path))

    async def copy(self, source: str, name: str) -> None:
        with _missing_as_such(source):
            await _off_loop(lambda: self._copy(self.path(source), self.path(name)))

    async def local_path(self, name: str) -> Path:
        path = self.path(name)
        if not path.is_file():
            raise FileDoesNotExist(name)
        return path

    def release(self, prefix: str, *, again: bool) -> None:
        """Do nothing: workers read the blobs themselves."""

    async def read(self, name: str, *, start: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` on, `size` of them or all."""
        with _missing_as_such(name):
            fd = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        left = size
        try:
            while left is None or left > 0:
                wanted = READ_BYTES if left is None else min(READ_BYTES, left)
                # `pread`: if the reader is cancelled meanwhile, a late read of a closed descriptor moves nothing
                piece = await asyncio.to_thread(os.pread, fd, wanted, start)
                if not piece:
                    return
                start += len(piece)
                left = None if left is None else left - len(piece)
                yield piece
        finally:
            os.close(fd)

    async def delete(self, prefix: str, *, older_than_seconds: Seconds | None = None) -> None:
        path = self.path(prefix)
        if older_than_seconds is None:
            await _off_loop(lambda: _delete(path))
        else:
            await _off_loop(lambda: _delete_untouched(path, self._now() - older_than_seconds))

    async def prefixes(self, under: str, *, older_than_seconds: Seconds) -> list[str]:
        return await _off_loop(lambda: list(self._untouched(under, older_than_seconds)))

    async def free_bytes(self) -> int | None:
        room = os.statvfs(self._root)
        return room.f_bavail * room.f_frsize

    def unfinished(self) -> Path:
        """Return a new path to make a file at; whatever a process that is gone made is swept at a start."""
        if self._making is None:
            self._making = OwnDirectory(self._root / UNFINISHED)
        return self._making.path / secrets.token_hex(16)

    def publish(self, unfinished: Path, name: str) -> None:
        """Give a written and synced file its name, durably."""
        _rename(unfinished, self.path(name))

    def path(self, name: str) -> Path:
        """Return where a blob is. Raise ValueError."""
        return self._root.joinpath(*parts_of(name))

    def _start(self) -> None:
        _make_directory(self._root / UNFINISHED)
        self._making = None
        self._making = OwnDirectory(self._root / UNFINISHED)

    def _adopt(self, path: Path, given: Path) -> tuple[int, str]:
        with given.open("rb") as file:
            found = os.fstat(file.fileno())
            movable = (
                found.st_nlink == 1 and not given.is_symlink()
            )  # else its content could still be changed elsewhere
            if movable:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fchmod(file.fileno(), 0o600)
                os.fsync(file.fileno())
                try:
                    _rename(given, path)
                    return found.st_size, digest
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
            unfinished = self.unfinished()
            file.seek(0)
            try:
                size, digest = _write_copy(file, unfinished)
                _rename(unfinished, path)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
        given.unlink()
        return size, digest

    def _copy(self, source: Path, path: Path) -> None:
        unfinished = self.unfinished()
        try:
            try:
                os.link(source, unfinished)  # blobs never change: two names may share the bytes
            except FileNotFoundError:
                raise
            except OSError:  # no links here, or too many of this file
                with source.open("rb") as file:
                    _write_copy(file, unfinished)
            _rename(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)  # also when both names were links to one file: then rename does nothing

    def _untouched(self, under: str, older_than_seconds: Seconds) -> Iterator[str]:
        above = self.path(under)
        if not above.is_dir():
            return
        touched_before = self._now() - older_than_seconds
        with os.scandir(above) as entries:
            for entry in entries:
                if _touched_at(entry) < touched_before:
                    yield f"{under}/{entry.name}"

    def _now(self) -> Seconds:
        """Return the time by the clock that stamps the files."""
        stamp = self.unfinished()
        stamp.touch(0o600)
        try:
            return stamp.stat().st_mtime
        finally:
            stamp.unlink()


class LocalBlobWriter:
    """A file in the making. Used by one coroutine; a lock keeps a cancelled write apart from the abort that follows."""

    def __init__(self, blobs: LocalBlobs, name: str, *, bytes_max: int) -> None:
        self._blobs = blobs
        self._name = name
        self._bytes_max = bytes_max
        self._unfinished = blobs.unfinished()
        self._file: BinaryIO | None = None
        self._ended = False
        self._published = False
        self._lock = threading.Lock()
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._size = 0
        self._sha256 = hashlib.sha256()
        blobs.path(name)  # a wrong name is refused before anything is written

    async def write(self, chunk: bytes) -> None:
        assert not self._ended
        if self._size + len(chunk) > self._bytes_max:
            raise BodyTooLarge("the file", self._bytes_max)
        self._size += len(chunk)
        self._gathered.append(chunk)
        self._gathered_bytes += len(chunk)
        if self._gathered_bytes >= PIECE_BYTES:
            await _off_loop(self._write_gathered)

    async def commit(self) -> tuple[int, str]:
        assert not self._ended
        try:
            await _off_loop(self._finish)
        except BaseException:
            await self.abort()
            raise
        self._ended = True
        return self._size, self._sha256.hexdigest()

    async def abort(self) -> None:
        if not self._ended:
            self._ended = True
            await asyncio.shield(asyncio.to_thread(self._discard))

    def _write_gathered(self) -> None:
        with self._lock:
            if self._ended:
                return
            pieces, self._gathered, self._gathered_bytes = self._gathered, [], 0
            if self._file is None:
                self._file = _create(self._unfinished)
            for piece in pieces:
                self._sha256.update(piece)
            _write_all(self._file, b"".join(pieces))

    def _finish(self) -> None:
        self._write_gathered()
        with self._lock:
            if self._file is None:
                return
            os.fsync(self._file.fileno())
            self._file.close()
            self._blobs.publish(self._unfinished, self._name)
            self._published = True

    def _discard(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._unfinished.unlink(missing_ok=True)
            if self._published:  # by a commit that nobody waited for any more
                self._blobs.path(self._name).unlink(missing_ok=True)


async def _off_loop(function: Callable[[], Answer]) -> Answer:
    """Run a function on another thread; a full disk has its own error."""
    try:
        return await asyncio.to_thread(function)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("there is no room left for files", retry_seconds=RETRY_SECONDS) from error
        raise


@contextmanager
def _missing_as_such(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FileDoesNotExist(name) from error


def _create(path: Path) -> BinaryIO:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return os.fdopen(fd, "wb", buffering=0)


def _write_all(file: BinaryIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _write_copy(source: BinaryIO, path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with _create(path) as file:
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
            _write_all(file, piece)
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _rename(unfinished: Path, path: Path) -> None:
    for tries_left in reversed(range(RENAME_TRIES)):
        try:
            _make_directory(path.parent)
            os.rename(unfinished, path)
            break
        except FileNotFoundError:  # a sweep took a directory that was still empty
            if not tries_left or not unfinished.exists():
                raise
    _sync_directory(path.parent)


def _make_directory(path: Path) -> None:
    """Make a directory and those above it; each is in its parent durably."""
    if path.is_dir():
        return
    _make_directory(path.parent)
    with suppress(FileExistsError):  # another thread made it
        path.mkdir(mode=0o700)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)  # what is left, a sweep of untouched prefixes finds
    else:
        path.unlink(missing_ok=True)


def _delete_untouched(path: Path, touched_before: Seconds) -> None:
    """Delete old files in old directories: one that was linked has the time of its source, its directory has not."""
    if not path.is_dir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < touched_before:
                path.unlink()
        return
    for folder, _, names in os.walk(path, topdown=False):
        with suppress(OSError):  # touched meanwhile: what is left, the next sweep finds
            if names and os.stat(folder).st_mtime >= touched_before:
                continue
            for file in (Path(folder, name) for name in names):
                if file.stat().st_mtime < touched_before:
                    file.unlink()
            os.rmdir(folder)


def _touched_at(entry: "os.DirEntry[str]") -> Seconds:
    """Return when anything in an entry was last written, added or removed."""
    with suppress(FileNotFoundError):  # deleted meanwhile: not untouched
        newest = entry.stat(follow_symlinks=False).st_mtime
        if entry.is_dir(follow_symlinks=False):
            with os.scandir(entry.path) as inner:
                newest = max([newest, *map(_touched_at, inner)])
        return newest
    return float("inf")
