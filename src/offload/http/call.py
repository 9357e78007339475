"""One request on its way through: its header as a dict, its body under a limit, and its answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cached_property, partial
from typing import TypeVar
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from offload.core.errors import BodyTooLarge, WrongValue
from offload.core.keys import ApiKey
from offload.core.task import ALL, Scope
from offload.engine.engine import Engine
from offload.engine.keyring import Keyring
from offload.http.config import HttpConfig
from offload.http.feeds import Feeds
from offload.http.links import Links
from offload.http.problems import WrongBody, WrongContentType, WrongRequest
from offload.http.stats import HttpStats

DRAIN_BYTES_MAX = 8 * 1024**2
"""How much of a refused body is still read, so that a client that sends first and reads later hears the answer."""
DRAIN_SECONDS_MAX = 2.0
SMALL_BODY_BYTES = 64 * 1024
"""A refused body of this size is read whole and the connection kept."""
QUERY_FIELDS_MAX = 200

T = TypeVar("T")


class ClientGone(Exception):
    """The client hung up; nobody is left to hear an answer."""


class Call:
    """One request. Until there are keys everybody sees every task and may do everything; then, what the key says."""

    owner = ""
    sees: Scope = ALL
    admin = True
    key: ApiKey | None = None
    by_link = False
    """Let in by a signed link."""

    def __init__(
        self, connection: Connection, receive: Receive, send: Send, engine: Engine, config: HttpConfig
    ) -> None:
        self.connection = connection
        self.engine = engine
        self.config = config
        self.request_id = ""
        self.answered = False
        self.close_after = False
        self.status = 0
        self.traceparent = ""
        """The trace it belongs to, empty when there is none."""
        self.route = "none"
        self.stats: HttpStats
        self.keyring: Keyring
        self.links: Links
        self.memory: dict[str, bytes]
        """What is made once and answered often."""
        self.feeds: Feeds
        self.method: str = connection["method"]
        self.path: str = connection["path"]
        self.parameters: dict[str, str] = {}
        self.limits: list[tuple[str, str]] = []
        """Quotas to tell the client of: an item of RateLimit-Policy and one of RateLimit (the IETF's draft)."""
        self.fields: dict[bytes, bytes] = {}
        self._receive = receive
        self._send = send
        fields = self.fields
        for name, value in connection["headers"]:
            # a field that may appear once only becomes one that no rule allows
            fields[name] = fields[name] + b", " + value if name in fields else value
        self.body_done = b"content-length" not in fields and b"transfer-encoding" not in fields

    def header(self, name: bytes) -> str | None:
        """Return a header field's value as text; repeated fields are joined by commas."""
        value = self.fields.get(name)
        if value is None:
            return None
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        """Return the query's fields in order. Raise WrongValue when they cannot be read."""
        text: bytes = self.connection["query_string"]
        try:
            return parse_qsl(
                text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX
            )
        except UnicodeDecodeError:
            raise WrongValue("query", "is not valid percent-encoded UTF-8") from None
        except ValueError:
            raise WrongValue("query", f"has more than {QUERY_FIELDS_MAX} fields") from None

    @property
    def content_length(self) -> int | None:
        """Return the body's size as the client announced it, None when it did not."""
        value = self.fields.get(b"content-length")
        if value is None:
            return None if b"transfer-encoding" in self.fields else 0
        if not value.isdigit():
            raise WrongRequest("Content-Length is not a number")
        return int(value)

    @property
    def content_type(self) -> str:
        """Return the body's media type in lower case, without parameters; empty when there is none."""
        return (self.header(b"content-type") or "").partition(";")[0].strip().lower()

    async def body(self, bytes_max: int) -> bytes:
        """Return the whole body. Raise BodyTooLarge, as early as possible."""
        self.check_body(bytes_max)
        if self.body_done:
            return b""
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):  # nearly always one piece
            self.body_done = True
            whole: bytes = message.get("body", b"")
            if len(whole) > bytes_max:
                raise BodyTooLarge("the body", bytes_max)
            return whole
        pieces, size = [], 0
        while True:
            if message["type"] != "http.request":
                raise ClientGone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > bytes_max:
                raise BodyTooLarge("the body", bytes_max)
            if not message.get("more_body", False):
                self.body_done = True
                return b"".join(pieces)
            message = await self._receive()

    async def chunks(self, bytes_max: int) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raise BodyTooLarge as soon as it is known."""
        self.check_body(bytes_max)
        size = 0
        while not self.body_done:
            message = await self._receive()
            if message["type"] != "http.request":
                raise ClientGone
            self.body_done = not message.get("more_body", False)
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > bytes_max:
                raise BodyTooLarge("the body", bytes_max)
            if chunk:
                yield chunk

    def check_body(self, bytes_max: int) -> None:
        """Refuse, before a byte of it is read, a body that is encoded or announces more than `bytes_max`."""
        if self.fields.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
            raise WrongContentType("a compressed body is not taken; send it without Content-Encoding")
        length = self.content_length
        if length is not None and length > bytes_max:
            raise BodyTooLarge("the body", bytes_max)

    async def no_body(self) -> None:
        """Read the body of a request that needs none; only an empty one or an empty JSON object is taken."""
        if not self.body_done and (await self.body(1024)).strip() not in (b"", b"{}"):
            raise WrongBody("this request takes no body")

    async def while_here(self, work: Awaitable[T], *, unheard: Callable[[T], None] | None = None) -> T:
        """Wait for `work`, and stop when the client hangs up. The body must have been read.

        `unheard` gets what was done for a client that hung up in the same moment; without it, that is answered.
        """
        working, gone = asyncio.ensure_future(work), asyncio.ensure_future(until_gone(self._receive))
        heard = False
        try:
            await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
            if not working.done() or (unheard is not None and gone.done()):
                raise ClientGone
            heard = True
            return working.result()
        finally:
            for task in (working, gone):
                task.cancel()
            if not heard and unheard is not None:
                working.add_done_callback(partial(_tell_unheard, unheard))

    async def answer(self, response: Response) -> None:
        """Send the answer; leave the connection in a sane state when the body was not read."""
        self.status = response.status_code
        response.raw_headers.append((b"offload-request-id", self.request_id.encode()))
        if self.limits:
            response.raw_headers.append((b"ratelimit-policy", ", ".join(policy for policy, _ in self.limits).encode()))
            response.raw_headers.append((b"ratelimit", ", ".join(state for _, state in self.limits).encode()))
        if self.by_link:
            response.raw_headers.append((b"referrer-policy", b"no-referrer"))
        if self.method == "HEAD":
            response.body = b""  # its length is in the header
        if self.close_after:
            response.raw_headers.append((b"connection", b"close"))
        if not self.body_done:
            await self._end_body(response)
        self.answered = True
        if self.body_done:
            await response(self.connection, self._receive, self._send)

    async def _end_body(self, response: Response) -> None:
        """Read a small rest whole. Before a large one, answer, then read a part and have the connection closed."""
        waits_for_100 = self.fields.get(b"expect", b"").lower() == b"100-continue"
        length = None if b"transfer-encoding" in self.fields else self.content_length
        if length is not None and length <= SMALL_BODY_BYTES and not waits_for_100:
            await self._drain()
            if self.body_done:
                return
        response.raw_headers.append((b"connection", b"close"))
        self.answered = True
        await self._send(
            {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        )
        await self._send({"type": "http.response.body", "body": response.body, "more_body": True})
        if not waits_for_100:
            await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        self.body_done = False

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS_MAX):
                size = 0
                while size < DRAIN_BYTES_MAX:
                    message = await self._receive()
                    size += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        self.body_done = message["type"] == "http.request"
                        return


def _tell_unheard(unheard: Callable[[T], None], working: "asyncio.Future[T]") -> None:
    if not working.cancelled() and working.exception() is None:
        unheard(working.result())


async def until_gone(receive: Receive) -> None:
    """Return when the client has hung up; what it sends meanwhile is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass
