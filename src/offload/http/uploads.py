"""The files of a task that is coming to be: stored below one prefix, and gone again when it does not."""

import contextlib
import mimetypes
import re
import unicodedata
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from offload.core.errors import FileDoesNotExist, OffloadError, TryAgain
from offload.core.files import FALLBACK_TYPE, type_of
from offload.core.sources import parse_data_url
from offload.core.store_errors import StoreInDoubt
from offload.core.task import FileRef, Scope
from offload.engine.orders import Order
from offload.engine.traffic import Place
from offload.engine.writing import whole, write_all
from offload.http.call import Call
from offload.http.multipart import clean
from offload.ports import Added, Blobs, BlobWriter, FileStore

NAME_BYTES_MAX = 255

_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}")


class Staging:
    """Blobs below a prefix. Leaving it before `keep` deletes them all."""

    def __init__(self, blobs: Blobs, prefix: str, bytes_max: int) -> None:
        self._blobs = blobs
        self._prefix = prefix
        self._bytes_max = bytes_max
        self._count = 0
        self._kept = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._kept:
            await self.drop()

    def keep(self) -> None:
        """From here on the store decides: what turns out to be nobody's is swept later."""
        self._kept = True

    async def drop(self) -> None:
        if self._count:
            self._count = 0
            with contextlib.suppress(TryAgain):  # then a sweep finds them; what went wrong before is what is told
                await self._blobs.delete(self._prefix)

    def next_blob(self) -> str:
        blob = f"{self._prefix}/{self._count}"
        self._count += 1
        return blob

    def writer(self, blob: str) -> BlobWriter:
        return self._blobs.writer(blob, bytes_max=self._bytes_max)

    async def add_data_url(self, url: str, field: str) -> FileRef:
        """Store what a `data:` URL holds. Raise ValueError."""
        data, media_type, name = parse_data_url(url)
        blob = self.next_blob()
        size, sha256 = await write_all(self.writer(blob), whole(data))
        media_type = safe_type(media_type, name)
        return FileRef(
            blob=blob, name=safe_name(name, field, media_type), type=media_type, size=size, sha256=sha256, field=field
        )

    async def add_stored(self, files: FileStore, sees: Scope, file_id: str, field: str) -> FileRef:
        """Copy a file that was stored before, so that each task owns its own. Raise FileDoesNotExist."""
        stored = await files.get_file(sees, file_id)
        if stored is None:
            raise FileDoesNotExist(file_id)
        blob = self.next_blob()
        await self._blobs.copy(stored.file.blob, blob)
        found = stored.file
        return FileRef(blob=blob, name=found.name, type=found.type, size=found.size, sha256=found.sha256, field=field)


async def create(call: Call, order: Order, place: Place, staging: Staging) -> Added:
    """Make one task durable, or leave nothing of it."""
    return (await create_all(call, [order], [place], [staging]))[0]


async def create_all(
    call: Call, orders: Sequence[Order], places: Sequence[Place], stagings: Sequence[Staging]
) -> list[Added]:
    """Make all tasks durable, or leave nothing. While the end is unknown the blobs stay: the tasks may exist."""
    for staging in stagings:
        staging.keep()
    try:
        added = await call.engine.create_all(orders, places)
    except StoreInDoubt:
        raise
    except OffloadError:
        for staging in stagings:
            await staging.drop()
        raise
    for one, staging in zip(added, stagings, strict=True):
        if not one.fresh:
            await staging.drop()
    return added


def safe_type(given: str, name: str) -> str:
    """Return the media type without its parameters; guessed from the name when none was given."""
    bare = given.partition(";")[0].strip().lower()
    if _TYPE.fullmatch(bare) and bare != FALLBACK_TYPE:
        return bare
    return type_of(name)


def safe_name(given: str, field: str, media_type: str) -> str:
    """Return a file name that is only a name: no directories, no marks that reverse what is read, not too long."""
    name = clean(given, "a file name").replace("\\", "/").rpartition("/")[2]
    name = "".join("_" if unicodedata.category(character) == "Cf" else character for character in name).strip()
    while len(name.encode()) > NAME_BYTES_MAX:
        name = name[1:]  # the end says what kind of file it is
    if name.strip(".") == "":
        suffix = "" if media_type == FALLBACK_TYPE else mimetypes.guess_extension(media_type) or ""
        return (field.partition(".")[0] or "file") + suffix
    return name
