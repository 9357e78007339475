"""Links to single blobs, for clients that may read or write them past this server."""

from collections.abc import Mapping
from typing import Protocol

from offload.core.task import Record, Seconds


class UploadLink(Record, frozen=True, kw_only=True):
    """Where a client may PUT one file; it must send these headers as they are."""

    url: str
    headers: Mapping[str, str]


class BlobLinks(Protocol):
    """What a blob store can give that clients reach by themselves. Whoever has a link may use it until it ends.

    Raises StoreUnavailable when that may work later.
    """

    upload_bytes_max: int
    """The largest file that one PUT can bring."""

    async def to_read(self, name: str, *, type: str, disposition: str, seconds: Seconds) -> str:
        """Return a URL that a GET of is answered with the blob, this Content-Type and this Content-Disposition."""

    async def to_write(self, name: str, *, size: int, seconds: Seconds) -> UploadLink:
        """Return a link by which a blob of exactly this size can be written, and written again."""

    async def size_of(self, name: str) -> int:
        """Raise FileDoesNotExist."""
