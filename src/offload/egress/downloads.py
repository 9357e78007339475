"""Fetching a file from where a client said, piece by piece, and going on after a break when it is still the same."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import aiohttp

from offload.core.errors import (
    BodyTooLarge,
    EgressFailed,
    ExchangeFailed,
    SourceUnavailable,
    StoreUnavailable,
    Unreachable,
)
from offload.egress.headers import file_name, media_type, range_start, retry_after_seconds, validator
from offload.egress.targets import Target, follow
from offload.egress.trip import Request, Trip, Ways
from offload.egress.unpacking import Packed
from offload.ports import BlobWriter, Fetched

PACKING_BYTES_MAX = 64 * 1024
"""By how much a packed file may be larger than what is in it."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
WORTH_ANOTHER_TRY = frozenset({408, 421, 423, 425, 429})
"""Below 500, and yet only a matter of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to fetch, and how much of it at most."""

    target: Target
    headers: Mapping[str, str] = field(default_factory=dict)
    """Credentials and the like: they go to this origin and to no other."""
    bytes_max: int
    deadline: float
    https_only: bool


class Download:
    """One file on its way into a sink, over as many requests as it takes."""

    def __init__(self, order: Order, sink: BlobWriter, ways: Ways) -> None:
        self._order, self._sink, self._ways = order, sink, ways
        self._arrived = 0
        """What the wire carried; the same as written, unless it is packed."""
        self._written = 0
        self._size: int | None = None
        self._validator: str | None = None

    async def run(self) -> Fetched:
        """Return what was fetched; raise EgressFailed or BodyTooLarge."""
        limits = self._ways.limits
        for _ in range(limits.resumes_max):
            before = self._written
            try:
                return await self._once()
            except (ExchangeFailed, Unreachable):
                late = asyncio.get_running_loop().time() + limits.resume_pause_seconds >= self._order.deadline
                stuck = self._written == before and before == 0
                if self._validator is None or late or stuck:
                    raise
            await asyncio.sleep(limits.resume_pause_seconds)
        return await self._once()

    async def _once(self) -> Fetched:
        target, headers = self._order.target, dict(self._order.headers)
        for _ in range(self._ways.limits.redirects_max + 1):
            request = Request(
                method="GET", target=target, headers={**headers, **self._range()},
                header_seconds=self._ways.limits.header_seconds,
            )  # fmt: skip
            trip = Trip(request, self._ways, deadline=self._order.deadline)
            async with trip.answer() as response:
                location = response.headers.get("Location") if response.status in REDIRECTS else None
                if location is None:
                    return await self._take(response, trip, target)
            hop = self._next(target, location)
            if hop.origin != target.origin:
                headers = {}
            target = hop
        raise SourceUnavailable(f"{self._order.target.origin} redirects too often", temporary=False)

    def _next(self, target: Target, location: str) -> Target:
        try:
            return follow(target, location, https_only=self._order.https_only)
        except EgressFailed:
            raise SourceUnavailable(f"{target.origin} redirects to what is no usable URL", temporary=False) from None

    def _range(self) -> dict[str, str]:
        if not self._written or self._validator is None:
            return {}
        return {"Range": f"bytes={self._written}-", "If-Range": self._validator}

    async def _take(self, response: aiohttp.ClientResponse, trip: Trip, target: Target) -> Fetched:
        packed = self._check(response, target)
        async for piece in self._pieces(response, trip):
            self._arrived += len(piece)
            for part in packed.unpack(piece) if packed else (piece,):
                await self._write(part)
            if self._arrived > self._order.bytes_max + PACKING_BYTES_MAX:
                raise BodyTooLarge("the file at the URL", self._order.bytes_max)
        if packed:
            packed.check_end()
        if self._size is not None and self._arrived != self._size:
            raise ExchangeFailed(f"{target.origin} sent {self._arrived:,} bytes of {self._size:,}")
        name = file_name(response.headers, target.path_query)
        return Fetched(name=name, type=media_type(response.headers, name), size=self._written)

    async def _write(self, part: bytes) -> None:
        self._written += len(part)
        if self._written > self._order.bytes_max:
            raise BodyTooLarge("the file at the URL", self._order.bytes_max)
        try:
            await self._sink.write(part)
        except OSError as error:  # or it would be taken for a fault of the source
            raise StoreUnavailable(f"the file cannot be kept: {error}") from error

    def _check(self, response: aiohttp.ClientResponse, target: Target) -> Packed | None:
        """Judge status and header, and say how the body is packed; raise what makes it useless to read on."""
        status, headers = response.status, response.headers
        if self._written:
            self._check_part(response, target)
            return None
        if status != 200:
            raise SourceUnavailable(
                f"{target.origin} answered {status}",
                temporary=status >= 500 or status in WORTH_ANOTHER_TRY,
                retry_seconds=retry_after_seconds(headers),
            )
        encoding = headers.get("Content-Encoding", "").strip().lower().replace("identity", "")
        if encoding and not Packed.knows(encoding):
            raise SourceUnavailable(f"{target.origin} packs the file as {encoding[:40]!r}", temporary=False)
        length = headers.get("Content-Length", "")
        self._size = int(length) if length.isdigit() else None
        if self._size is not None and self._size > self._order.bytes_max + (PACKING_BYTES_MAX if encoding else 0):
            raise BodyTooLarge("the file at the URL", self._order.bytes_max)
        resumes = not encoding and headers.get("Accept-Ranges", "").strip().lower() != "none"
        self._validator = validator(headers) if resumes else None
        return Packed(encoding) if encoding else None

    def _check_part(self, response: aiohttp.ClientResponse, target: Target) -> None:
        if response.status >= 500 or response.status in WORTH_ANOTHER_TRY:
            raise ExchangeFailed(f"{target.origin} answered {response.status}")
        part = range_start(response.headers) if response.status == 206 else None
        tag = response.headers.get("ETag", "").strip()
        same_tag = not tag or not str(self._validator).startswith('"') or tag == self._validator
        same_size = part is not None and (None in (part[1], self._size) or part[1] == self._size)
        if part is None or part[0] != self._written or not same_tag or not same_size:
            # what is written cannot be taken back: the next attempt begins anew
            raise SourceUnavailable(f"the file at {target.origin} changed while it was fetched", temporary=True)
        self._size = part[1] if self._size is None else self._size

    async def _pieces(self, response: aiohttp.ClientResponse, trip: Trip) -> AsyncIterator[bytes]:
        """Yield what arrives; a source slower than the least rate runs out of time. Writing takes none of it."""
        limits = self._ways.limits
        loop = asyncio.get_running_loop()
        window_seconds, window_bytes = limits.rate_seconds, 0
        while True:
            asked = loop.time()
            trip.give(window_seconds)
            piece = await response.content.readany()
            if not piece:
                trip.give(None)
                return
            window_bytes += len(piece)
            window_seconds -= loop.time() - asked
            if window_bytes >= limits.rate_bytes_min * limits.rate_seconds:
                window_seconds, window_bytes = limits.rate_seconds, 0
            trip.give(None)
            yield piece
