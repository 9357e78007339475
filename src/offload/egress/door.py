"""The door: callbacks, URL inputs and result uploads go out through it, and nothing else that a client named does."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import aiohttp

from offload.core.errors import EgressRefused, UploadRefused, WrongSetting
from offload.egress.addresses import AllowList
from offload.egress.downloads import WORTH_ANOTHER_TRY, Download, Order
from offload.egress.headers import retry_after_seconds
from offload.egress.limits import Limits
from offload.egress.names import Lookup, Names, system_lookup
from offload.egress.targets import Target, parse_target
from offload.egress.trip import Request, Trip, Ways
from offload.ports import Answer, BlobWriter, Fetched

LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


class Door:
    """Open connections for strangers: to public addresses, and to what `allow` (networks, host names) adds."""

    def __init__(
        self, *, allow: Sequence[str] = (), https_only: bool = False, ca_file: Path | None = None,
        lookup: Lookup = system_lookup, limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self._https_only = https_only
        self._limits = limits or Limits()
        self._ways = Ways(
            allow=AllowList.parse(allow),
            names=Names(lookup, at_once_max=self._limits.at_once_max),
            tls=_tls(ca_file),
            limits=self._limits,
        )

    def check(self, url: str) -> None:
        """Refuse what can never work; only what the client itself wrote is judged, so it learns nothing new."""
        target = self._target(url)
        host = target.host.removesuffix(".")
        # a local name means the loopback addresses: the likeliest mistake gets the clearest answer
        local = host in LOCAL_NAMES or host.endswith(".localhost")
        address = "127.0.0.1" if local else target.host if target.is_address else None
        if address is not None and self._ways.allow.why_not(address, host=target.host) is not None:
            raise EgressRefused(
                f"{target.origin} is a closed address; who runs this server can open it by egress_allow"
            )

    async def send(self, url: str, *, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes]) -> Answer:
        return await self._hand_over(
            Request(method="POST", target=self._target(url), headers=headers, body=body), self._limits.callback_seconds
        )

    async def fetch(
        self, url: str, sink: BlobWriter, *, bytes_max: int, seconds_max: float,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:  # fmt: skip
        order = Order(
            target=self._target(url),
            headers=headers or {},
            bytes_max=bytes_max,
            deadline=asyncio.get_running_loop().time() + seconds_max,
            https_only=self._https_only,
        )
        return await Download(order, sink, self._ways).run()

    async def push(
        self, url: str, chunks: AsyncIterator[bytes], *, size: int, headers: Mapping[str, str], seconds_max: float
    ) -> Answer:
        target = self._target(url)
        headers = {**headers, "Content-Length": str(size)}
        request = Request(
            method="PUT", target=target, headers=headers, body=chunks, stall_seconds=self._limits.stall_seconds
        )
        answer = await self._hand_over(request, seconds_max)
        if not answer.accepts:
            raise UploadRefused(
                f"{target.origin} answered {answer.status} to the upload",
                temporary=answer.status >= 500 or answer.status in WORTH_ANOTHER_TRY,
                retry_seconds=answer.retry_after_seconds,
            )
        return answer

    def _target(self, url: str) -> Target:
        return parse_target(url, https_only=self._https_only)

    async def _hand_over(self, request: Request, seconds_max: float) -> Answer:
        loop = asyncio.get_running_loop()
        started = loop.time()
        deadline = started + seconds_max
        async with Trip(request, self._ways, deadline=deadline).answer() as response:
            latency_seconds = loop.time() - started
            body = await self._first_bytes(response, deadline)
            return Answer(
                status=response.status,
                body=body,
                retry_after_seconds=retry_after_seconds(response.headers),
                latency_seconds=latency_seconds,
            )

    async def _first_bytes(self, response: aiohttp.ClientResponse, deadline: float) -> bytes:
        """Return the beginning of a body; whatever happens while it is read, the status has been said."""
        found = bytearray()
        most = self._limits.answer_bytes_max
        last = min(asyncio.get_running_loop().time() + self._limits.answer_seconds, deadline - 0.05)
        try:
            async with asyncio.timeout_at(last):
                while len(found) < most and (piece := await response.content.read(most - len(found))):
                    found += piece
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass
        return bytes(found)


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise WrongSetting(f"egress_ca_file: {ca_file} cannot be read as certificates: {error}") from None
    return context
