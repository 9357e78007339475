"""One request to one place: what it may connect to is judged where its socket is made, and nothing of it is kept."""

import asyncio
import contextlib
import io
import logging
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from offload.core.errors import EgressRefused, ExchangeFailed, OffloadError, Unreachable
from offload.egress.addresses import AllowList
from offload.egress.limits import Limits
from offload.egress.names import Names
from offload.egress.targets import Target

log = logging.getLogger("offload.egress")
_chance = random.SystemRandom()
INTERIM_ANSWERS_MAX = 3
"""Answers with a status below 200 before the real one."""
_CLOSE_AT_ONCE = struct.pack("ii", 1, 0)
"""A closed socket keeps none of its bytes: the kernel would hold them for minutes for who does not take them."""
_CLOSE_IN_PEACE = struct.pack("ii", 0, 0)
AddressInfo = tuple[Any, Any, int, str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What every trip needs and none may change."""

    allow: AllowList
    names: Names
    tls: ssl.SSLContext
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    target: Target
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] | None = None
    header_seconds: float | None = None
    """How long the answer may take to begin; None: until the deadline."""
    stall_seconds: float | None = None
    """How long the far end may take no more of a body that is not in memory; None: until the deadline."""


class Trip:
    """A connector of its own for each trip: no connection, cookie or looked-up name is shared with another."""

    def __init__(self, request: Request, ways: Ways, *, deadline: float) -> None:
        self._request, self._ways, self._deadline = request, ways, deadline
        self._limit: asyncio.Timeout | None = None
        self._sockets: list[socket.socket] = []
        self._refusals: list[str] = []
        self._connected = False

    @contextlib.asynccontextmanager
    async def answer(self) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the answer, its body unread; whatever goes wrong until the block ends is an EgressFailed."""
        try:
            async with asyncio.timeout_at(self._deadline) as self._limit:
                async with self._session() as session:
                    self.give(self._request.header_seconds)
                    response = await self._ask(session)
                    self.give(None)
                    try:
                        yield response
                        self._part_in_peace()
                    finally:
                        response.close()
        except OffloadError:
            raise
        except (aiohttp.ClientError, OSError, ssl.SSLError, TimeoutError) as error:
            failed = self._told(error)
            if isinstance(failed, Unreachable):
                await asyncio.sleep(_chance.uniform(0.0, self._ways.limits.blur_seconds))
            raise failed from None
        finally:
            self._hang_up()

    def give(self, seconds: float | None) -> None:
        """Let the far end take so long from now on, None: until the deadline; never longer than that."""
        assert self._limit is not None
        now = asyncio.get_running_loop().time()
        with contextlib.suppress(RuntimeError):  # it has expired already
            self._limit.reschedule(self._deadline if seconds is None else min(self._deadline, now + seconds))

    def _session(self) -> aiohttp.ClientSession:
        limits = self._ways.limits
        trace = aiohttp.TraceConfig()
        trace.on_connection_create_end.append(self._note_connected)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_Resolver(self), socket_factory=self.open_socket, ssl=self._ways.tls,
                use_dns_cache=False, force_close=True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_Response,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_seconds),
            trust_env=False,
            auto_decompress=False,
            max_headers=limits.header_count_max,
            trace_configs=[trace],
        )  # fmt: skip

    async def _ask(self, session: aiohttp.ClientSession) -> aiohttp.ClientResponse:
        target, limits = self._request.target, self._ways.limits
        url = URL(target.text, encoded=True)
        # if yarl read another place out of it than we did, our judgement would be of the wrong one
        if url.user or url.raw_host != target.host or url.port != target.port or url.raw_path_qs != target.path_query:
            raise EgressRefused("the URL can be read in more than one way")
        try:
            response = await session.request(
                self._request.method,
                url,
                headers={"User-Agent": "offload", "Accept-Encoding": "identity", **self._request.headers},
                data=self._body(),
                allow_redirects=False,
            )
        except _TooMuch as error:
            raise self._failed("sent more header than is taken", str(error)) from None
        except aiohttp.ClientConnectionError:
            raise  # some are a ValueError as well
        except ValueError as error:
            raise EgressRefused(f"the request cannot be sent to {target.origin}: {error}") from None
        except RuntimeError as error:  # uvloop raises it where a transport has just been closed
            raise self._failed("broke the connection", repr(error)) from None
        if sum(len(name) + len(value) for name, value in response.raw_headers) > limits.header_bytes_max:
            response.close()
            raise self._failed("sent more header than is taken", f"over {limits.header_bytes_max} bytes")
        return response

    def _body(self) -> io.BytesIO | AsyncIterator[bytes] | None:
        body = self._request.body
        if isinstance(body, bytes):
            return io.BytesIO(body)  # goes out in pieces, where bytes would go in one
        return body if body is None else self._watched(body, int(self._request.headers["Content-Length"]))

    async def _watched(self, body: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
        """Pass a body on: as long as was promised, and not to who takes nothing of it."""
        async for chunk in body:
            if (size := size - len(chunk)) < 0:
                break
            if self._request.stall_seconds is not None:
                self.give(self._request.stall_seconds + len(chunk) / self._ways.limits.rate_bytes_min)
            yield chunk
        if size != 0:
            raise OSError("the body is not as long as its Content-Length says")
        self.give(None)

    async def addresses(self, host: str) -> list[str]:
        """Look a name up and judge every address: one that is closed closes the name."""
        found = await self._ways.names.addresses(host)
        for address in found:
            self._judge(address)
        if not found:
            raise OSError(f"{host} has no address")
        return found[: self._ways.limits.addresses_max]

    def open_socket(self, info: AddressInfo) -> socket.socket:
        """Make the socket for one attempt to connect, unless it would lead where nobody may go."""
        family, kind, protocol, _, address = info
        if self._connected:  # aiohttp would ask once more, unseen, when a server hangs up on it
            raise OSError("the connection broke, and a trip has only one")
        self._judge(str(address[0]))
        if address[1] != self._request.target.port:
            raise OSError(f"port {address[1]} is not the one that was asked for")
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_AT_ONCE)
        self._sockets.append(made)
        return made

    def _judge(self, address: str) -> None:
        if (why := self._ways.allow.why_not(address, host=self._request.target.host)) is not None:
            self._refusals.append(why)
            raise OSError(why)

    async def _note_connected(self, *_: object) -> None:
        self._connected = True

    def _part_in_peace(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_IN_PEACE)

    def _hang_up(self) -> None:
        """End what is left at once: else it would go on trying to send its last bytes to who does not read them."""
        for each in self._sockets:
            with contextlib.suppress(OSError):  # closed already, which is how it should be
                each.shutdown(socket.SHUT_RDWR)

    def _told(self, error: Exception) -> OffloadError:
        detail = f"{type(error).__name__}: {getattr(error, 'message', '') or error}"
        if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
            return self._failed("could not be trusted: its certificate or its TLS is wrong", detail)
        if isinstance(error, TimeoutError) and self._connected:
            return self._failed("took too long", detail)
        if self._connected:
            return self._failed("broke off or did not speak HTTP", detail)
        # a closed address, a name that is not there and a refused connection are one answer to who asked
        self._log("; ".join(self._refusals) or detail)
        return Unreachable(self._request.target.origin)

    def _failed(self, what: str, detail: str) -> ExchangeFailed:
        self._log(detail)
        return ExchangeFailed(f"{self._request.target.origin} {what}")

    def _log(self, detail: str) -> None:
        query = self._request.target.path_query.partition("?")[2]
        told = detail.replace(query, "…") if query else detail  # it may hold a signature
        log.warning("no answer from a place that a client named", extra={
            "url": self._request.target.shown, "detail": told})  # fmt: skip


class _TooMuch(aiohttp.ClientError):
    """The far end goes on and on before it answers."""


class _Resolver(AbstractResolver):
    def __init__(self, trip: Trip) -> None:
        self._trip = trip

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host, host=address, port=port, proto=socket.IPPROTO_TCP, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            )
            for address in await self._trip.addresses(host)
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is held."""


class _Response(aiohttp.ClientResponse):
    """Counts the answers before the answer, which aiohttp would read for ever."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        protocol, seen = connection.protocol, 0
        read = protocol.read

        async def counted() -> Any:
            nonlocal seen
            seen += 1
            if seen > INTERIM_ANSWERS_MAX + 1:
                raise _TooMuch("too many interim answers")
            return await read()

        protocol.read = counted
        try:
            return await super().start(connection)
        finally:
            protocol.read = read
