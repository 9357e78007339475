"""Presigned links of S3, made here: the library's own can neither say a type nor hold an upload to its size."""

from datetime import timedelta
from urllib.parse import urlsplit

import obstore
from obstore.store import S3Store

from offload.blobs.names import parts_of
from offload.blobs.objects import told
from offload.blobs.presign import Credentials, presign
from offload.core.task import Seconds
from offload.ports import Clock
from offload.ports.links import UploadLink

PUT_BYTES_MAX = 5 * 1024**3


class S3Links:
    """Links with static credentials; those of a role are in the library's hands alone."""

    upload_bytes_max = PUT_BYTES_MAX

    def __init__(self, store: S3Store, credentials: Credentials, clock: Clock, *, public: str = "") -> None:
        self._store = store
        self._credentials = credentials
        self._clock = clock
        self._public = public.rstrip("/")
        """The address under which clients reach the store, when it is another than ours."""

    async def to_read(self, name: str, *, type: str, disposition: str, seconds: Seconds) -> str:
        query = {
            "response-content-type": type,
            "response-content-disposition": disposition,
            "response-cache-control": "private, no-cache",
        }
        return presign(
            "GET", self._address(name), self._credentials, now=self._clock.now(), seconds=seconds, query=query
        )

    async def to_write(self, name: str, *, size: int, seconds: Seconds) -> UploadLink:
        headers = {"Content-Length": str(size)}
        url = presign(
            "PUT", self._address(name), self._credentials, now=self._clock.now(), seconds=seconds, headers=headers
        )
        return UploadLink(url=url, headers=headers)

    async def size_of(self, name: str) -> int:
        with told(name):
            return (await obstore.head_async(self._store, name))["size"]

    def _address(self, name: str) -> str:
        parts_of(name)
        # the library knows best where an object is: bucket in the host or in the path, endpoint, prefix
        found = obstore.sign(self._store, "GET", name, timedelta(seconds=60)).partition("?")[0]
        if not self._public:
            return found
        return self._public + urlsplit(found).path
