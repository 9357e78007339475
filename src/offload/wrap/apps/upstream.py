"""The application behind `offload proxy`: requests to one upstream, named by the operator, with bodies that stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import yarl

from offload.core.errors import OffloadError, WrongSetting
from offload.core.files import File
from offload.wrap.apps.messages import Fields, Head, ResponseFile, end_to_end

CHUNK_BYTES = 64 * 1024
CONNECT_SECONDS_MAX = 10.0


class UpstreamUnreachable(OffloadError):
    """No response came from the upstream, or only a part of one."""

    code = "UpstreamUnreachable"


class Upstream:
    """A client of one server. A connection is used once: a used one may be closed just when a request is sent on it."""

    def __init__(self, url: str) -> None:
        self.url = check_upstream(url)
        self._parts = urlsplit(self.url)
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def exchange(self, head: Head, body: AsyncIterator[bytes] | None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give the response. Raise UpstreamUnreachable, or OSError of the body's own source."""
        url = yarl.URL(self.url + head.target, encoded=True)
        try:
            async with self._opened().request(
                head.method, url, headers=self._fields(head), data=body, allow_redirects=False
            ) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise UpstreamUnreachable(f"no whole response from {self.url}: {what}") from error

    async def respond(self, head: Head, body: Path | None, response: ResponseFile) -> File:
        """Send a stored request and write what comes back."""
        async with self.exchange(head, _chunks(body) if body else None) as answer:
            response.start(answer.status, fields_of(answer), answer.reason or "")
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                response.write(chunk)
                if response.is_too_large:
                    break
        return response.finish()

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:  # it belongs to the loop that runs, and there is none before the first request
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                max_line_size=64 * 1024,
                max_field_size=64 * 1024,
            )
        return self._session

    def _fields(self, head: Head) -> list[tuple[str, str]]:
        """Return the header as the upstream gets it.

        It keeps the Host by which the client asked, because the application builds its links from it; over https the
        upstream's own one, because there the host has to fit the certificate.
        """
        left_out = {"expect", "proxy-authorization"} | ({"host"} if self._parts.scheme == "https" else set())
        fields = [(name, value) for name, value in end_to_end(head.headers) if name not in left_out]
        host = dict(head.headers).get("host", "")
        told = (("x-forwarded-for", (head.client or ("",))[0]), ("x-forwarded-host", host),
                ("x-forwarded-proto", head.scheme))  # fmt: skip
        given = {name for name, _ in fields}
        return fields + [(name, value) for name, value in told if value and name not in given]


def fields_of(answer: aiohttp.ClientResponse) -> Fields:
    """Return the header of a response, repeated fields and all."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.raw_headers]


def check_upstream(url: str) -> str:
    """Return an upstream's URL without the slash at its end. Raise WrongSetting."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise WrongSetting(f"{url!r} is not an upstream: write its address, as in http://127.0.0.1:5000")
    if parts.username is not None:
        raise WrongSetting("an upstream's address cannot hold a name and password; the requests bring their own")
    return url.rstrip("/")


async def _chunks(body: Path) -> AsyncIterator[bytes]:
    with body.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
