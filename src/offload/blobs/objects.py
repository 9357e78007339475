"""Blobs in an object store (S3, Google Cloud Storage, Azure): whole under a name, or not there."""

import asyncio
import hashlib
import logging
import os
import re
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore

if TYPE_CHECKING:  # the library has it in its stubs only
    from obstore import AsyncWritableFile, GetOptions, ObjectMeta

from offload.blobs.cache import Cache
from offload.blobs.names import UNFINISHED, parts_of
from offload.core.errors import BodyTooLarge, FileDoesNotExist, StoreUnavailable, WrongSetting
from offload.core.task import Seconds

log = logging.getLogger("offload.blobs")

PIECE_BYTES = 1024 * 1024
"""What a writer gathers before it is sent on."""
PART_BYTES_MIN = 5 * 1024 * 1024
"""The smallest part that S3 takes; a writer holds up to four of them."""
PARTS_MAX = 9_000
"""S3 takes 10,000, so larger files are sent in larger parts."""
PARTS_AT_ONCE = 2
READ_BYTES = 2 * 1024 * 1024
"""One request; a reader that is slow holds no connection to the store."""
CHUNK_BYTES = 256 * 1024
DOWNLOAD_BYTES = 8 * 1024 * 1024
COPY_BYTES_MAX = 5 * 1024**3
"""S3 copies no larger object by itself."""
DELETE_MAX = 500
RETRY_SECONDS = 5
START_SECONDS = 30.0
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")


class ObjectBlobs:
    """Blobs as objects below the prefix of a bucket, and a cache of those that workers read."""

    def __init__(self, store: ObjectStore, cache: Cache, *, copier: ObjectStore, place: str) -> None:
        self._store = store
        self._copier = copier
        """The same, but more patient."""
        self._cache = cache
        self._place = place
        """What people call it; holds no secrets."""

    async def start(self) -> None:
        """Write, read and delete a small object, so that what is wrong is known before a task is taken."""
        await self._cache.start()
        name = f"{UNFINISHED}/probe-{secrets.token_hex(8)}"
        try:
            async with asyncio.timeout(START_SECONDS):
                await obstore.put_async(self._store, name, b"offload")
                await obstore.get_async(self._store, name)
                await obstore.delete_async(self._store, name)
        except TimeoutError as error:
            raise StoreUnavailable(f"{self._place} did not answer within {START_SECONDS:g} s") from error
        except (BaseError, FileNotFoundError) as error:
            raise self._start_error(error) from error

    def writer(self, name: str, *, bytes_max: int) -> "ObjectWriter":
        return ObjectWriter(self._store, _checked(name), bytes_max=bytes_max)

    async def adopt(self, name: str, path: Path) -> tuple[int, str]:
        """Send a local file, then delete it. What is hashed is what was sent, whoever else may hold the file."""
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size  # what is added from here on is nobody's result
            writer = self.writer(name, bytes_max=left)
            try:
                while piece := await asyncio.to_thread(file.read, min(PIECE_BYTES, left)):
                    left -= len(piece)
                    await writer.write(piece)
                size, sha256 = await writer.commit()
            except BaseException:
                await writer.abort()
                raise
        path.unlink(missing_ok=True)
        return size, sha256

    async def copy(self, source: str, name: str) -> None:
        with told(source):
            found = await obstore.head_async(self._store, _checked(source))
            if found["size"] <= COPY_BYTES_MAX:
                return await obstore.copy_async(self._copier, source, _checked(name))
        writer = self.writer(name, bytes_max=found["size"])
        try:
            async for piece in self._pieces(source, 0, None, DOWNLOAD_BYTES):
                await writer.write(piece)
            await writer.commit()
        except BaseException:
            await writer.abort()
            raise

    async def local_path(self, name: str) -> Path:
        return await self._cache.path(name, lambda: self._pieces(name, 0, None, DOWNLOAD_BYTES))

    def release(self, prefix: str, *, again: bool) -> None:
        self._cache.release(prefix, again=again)

    async def read(self, name: str, *, start: int = 0, size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` on, `size` of them or all."""
        async for piece in self._pieces(name, start, size, READ_BYTES):
            for begin in range(0, len(piece), CHUNK_BYTES):
                yield piece[begin : begin + CHUNK_BYTES]

    async def delete(self, prefix: str, *, older_than_seconds: Seconds | None = None) -> None:
        if older_than_seconds is not None:
            await self._delete_untouched(prefix, older_than_seconds)
            return
        self._cache.delete(prefix)
        with told(prefix):
            names = [_checked(prefix)]  # no list tells of the object of that very name
            async for found in obstore.list(self._store, prefix, chunk_size=DELETE_MAX):
                await self._delete([each["path"] for each in found])
            await self._delete(names)

    async def prefixes(self, under: str, *, older_than_seconds: Seconds) -> list[str]:
        newest: dict[str, Seconds] = {}
        with told(under):
            touched_before = await self._now() - older_than_seconds
            async for found in obstore.list(self._store, _checked(under), chunk_size=1000):
                for each in found:
                    name = "/".join(each["path"].split("/")[: under.count("/") + 2])
                    newest[name] = max(newest.get(name, 0.0), each["last_modified"].timestamp())
        return [name for name, touched_at in newest.items() if touched_at < touched_before]

    async def free_bytes(self) -> int | None:
        return None

    async def _delete_untouched(self, prefix: str, older_than_seconds: Seconds) -> None:
        with told(prefix):
            touched_before = await self._now() - older_than_seconds
            with suppress(FileNotFoundError):  # no list tells of the object of that very name
                own = await obstore.head_async(self._store, _checked(prefix))
                await self._delete_old([own], touched_before)
            async for found in obstore.list(self._store, prefix, chunk_size=DELETE_MAX):
                await self._delete_old(found, touched_before)

    async def _delete_old(self, found: "Sequence[ObjectMeta]", touched_before: Seconds) -> None:
        old = [each["path"] for each in found if each["last_modified"].timestamp() < touched_before]
        for name in old:
            self._cache.delete(name)
        if old:
            await self._delete(old)

    async def _pieces(self, name: str, start: int, size: int | None, piece_bytes: int) -> AsyncIterator[bytes]:
        with told(name):
            found = await obstore.head_async(self._store, _checked(name))
        end = found["size"] if size is None else min(start + size, found["size"])
        while start < end:
            span = (start, min(start + piece_bytes, end))
            asked: GetOptions = {"range": span}
            if found["e_tag"] is not None:  # what is replaced meanwhile is not read as a mixture of both
                asked["if_match"] = found["e_tag"]
            with told(name):
                piece = bytes(await (await obstore.get_async(self._store, name, options=asked)).bytes_async())
            start = span[1]
            yield piece

    async def _delete(self, names: list[str]) -> None:
        with suppress(FileNotFoundError):  # some stores say so, and some do not
            await obstore.delete_async(self._store, names)

    async def _now(self) -> Seconds:
        """Return the time by the clock that stamps the objects."""
        stamp = f"{UNFINISHED}/stamp-{secrets.token_hex(8)}"
        await obstore.put_async(self._store, stamp, b"")
        try:
            return (await obstore.head_async(self._store, stamp))["last_modified"].timestamp()
        finally:
            await self._delete([stamp])

    def _start_error(self, error: Exception) -> Exception:
        said = _first_line(error)
        if any(sign in str(error) for sign in NO_BUCKET) or isinstance(error, FileNotFoundError):
            return WrongSetting(f"blobs: {self._place}: there is no such bucket; make it, or name another ({said})")
        if isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return WrongSetting(
                f"blobs: {self._place}: the store refuses the credentials of this process; they need to read, "
                f"write, list and delete ({said})"
            )
        return StoreUnavailable(f"{self._place} cannot be reached: {said}")


class ObjectWriter:
    """An object in the making, sent in parts. Used by one coroutine."""

    def __init__(self, store: ObjectStore, name: str, *, bytes_max: int) -> None:
        self._store = store
        self._name = name
        self._bytes_max = bytes_max
        self._sending: asyncio.Future[None] | None = None
        self._parts: AsyncWritableFile | None = None
        self._committing = False
        self._ended = False
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._size = 0
        self._sha256 = hashlib.sha256()

    async def write(self, chunk: bytes) -> None:
        assert not self._ended
        if self._size + len(chunk) > self._bytes_max:
            raise BodyTooLarge("the file", self._bytes_max)
        self._size += len(chunk)
        self._gathered.append(chunk)
        self._gathered_bytes += len(chunk)
        if self._gathered_bytes >= PIECE_BYTES:
            await self._send(self._send_gathered())

    async def commit(self) -> tuple[int, str]:
        assert not self._ended
        try:
            await self._send(self._finish())
        except BaseException:
            await self.abort()
            raise
        self._ended = True
        return self._size, self._sha256.hexdigest()

    async def abort(self) -> None:
        if not self._ended:
            self._ended = True
            await asyncio.shield(asyncio.ensure_future(self._discard()))

    async def _send(self, work: Coroutine[None, None, None]) -> None:
        """Do it to its end even if nobody waits any more: an upload that is cut off could not be taken back."""
        self._sending = asyncio.ensure_future(work)
        with told(self._name):
            await asyncio.shield(self._sending)

    async def _send_gathered(self) -> None:
        piece = self._take()
        await asyncio.to_thread(self._sha256.update, piece)
        if self._parts is None:
            part_bytes = max(PART_BYTES_MIN, -(-self._bytes_max // PARTS_MAX))
            self._parts = obstore.open_writer_async(
                self._store, self._name, buffer_size=part_bytes, max_concurrency=PARTS_AT_ONCE
            )
        await self._parts.write(piece)

    async def _finish(self) -> None:
        self._committing = True
        if self._parts is None:
            whole = self._take()
            self._sha256.update(whole)
            await obstore.put_async(self._store, self._name, whole, use_multipart=False)
            return
        if self._gathered:
            await self._send_gathered()
        await self._parts.close()
        found = await obstore.head_async(self._store, self._name)
        if found["size"] != self._size:
            raise StoreUnavailable("the object store did not keep all of a file", retry_seconds=RETRY_SECONDS)

    async def _discard(self) -> None:
        if self._sending is not None:
            await asyncio.wait([self._sending])
            self._sending.exception()  # told already, or nobody waits for it
        try:
            if self._parts is not None and not await self._parts.closed():
                await self._parts.__aexit__(Exception, Exception("aborted"), None)
            if self._committing and self._sending is not None and self._sending.exception() is None:
                await obstore.delete_async(self._store, self._name)
        except (BaseError, OSError, ValueError) as error:
            log.warning("an unfinished upload could not be taken back: %s", _first_line(error))

    def _take(self) -> bytes:
        piece = b"".join(self._gathered)
        self._gathered, self._gathered_bytes = [], 0
        return piece


@contextmanager
def told(name: str) -> Iterator[None]:
    """Turn what the library raises into what the engine knows; the log has the details."""
    try:
        yield
    except FileNotFoundError as error:
        if any(sign in str(error) for sign in NO_BUCKET):
            raise _away(error) from error
        raise FileDoesNotExist(name) from error
    except BaseError as error:
        raise _away(error) from error


def _away(error: Exception) -> StoreUnavailable:
    log.warning("the object store: %s", _first_line(error))
    refused = isinstance(error, PermissionDeniedError | UnauthenticatedError)
    why = "refuses the credentials of this server" if refused else "cannot be reached, or does not do what it should"
    return StoreUnavailable(f"the object store {why}", retry_seconds=RETRY_SECONDS)


def _first_line(error: Exception) -> str:
    """Return what a store said, or else what the library did: many lines, and the last ones tell of its insides."""
    if said := re.search(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", str(error), re.DOTALL):
        return f"{said[1]}: {said[2]}"[:500]
    return str(error).partition("\n")[0][:500]


def _checked(name: str) -> str:
    parts_of(name)
    return name
