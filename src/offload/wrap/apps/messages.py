"""A request and a response as they are kept: the request's head as JSON, the response whole as `message/http`."""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from offload.core.files import File

MESSAGE_TYPE = "message/http"
REDACTED = "[redacted]"
SECRET_FIELDS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
"""What is said to the next machine only (RFC 9110, 7.6.1), beside the fields that Connection names."""

Fields = Sequence[tuple[str, str]]
"""Names in lower case; text is latin-1, as the bytes were."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """All of a request but its body."""

    method: str
    path: str
    """As it was sent, percent-encoded."""
    query: str = ""
    headers: list[tuple[str, str]] = []
    scheme: str = "http"
    http_version: str = "1.1"
    root_path: str = ""
    """The part of `path` below which the application is mounted."""
    server: tuple[str, int] | None = None
    client: tuple[str, int] | None = None

    @property
    def target(self) -> str:
        return self.path + ("?" + self.query if self.query else "")

    @property
    def body_bytes(self) -> int:
        """Return the announced length of the body, 0 when there is none."""
        return int(dict(self.headers).get("content-length", "0"))


def redacted(fields: Fields) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Return the fields without their secrets, and the secrets by their place in the list."""
    secrets = {str(at): value for at, (name, value) in enumerate(fields) if name in SECRET_FIELDS}
    return [(name, REDACTED if str(at) in secrets else value) for at, (name, value) in enumerate(fields)], secrets


def whole(request: Mapping[str, Any], secrets: bytes) -> Head:
    """Return a head that was redacted, with its secrets again."""
    head = msgspec.convert(request, Head)
    known = msgspec.json.decode(secrets, type=dict[str, str]) if secrets else {}
    fields = [(name, known.get(str(at), value)) for at, (name, value) in enumerate(head.headers)]
    return msgspec.structs.replace(head, headers=fields)


def end_to_end(fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the fields that go further than the next machine."""
    listed = list(fields)
    named = {
        word.strip().lower() for name, value in listed if name.lower() == "connection" for word in value.split(",")
    }
    return [(name, value) for name, value in listed if name.lower() not in HOP_BY_HOP and name.lower() not in named]


class BrokenResponse(Exception):
    """The application answered with something that is not a response."""


class ResponseFile:
    """A response on its way to disk; what is beyond the limit is left out, and the result refused as too large."""

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._left = bytes_max + 1
        self._file: BinaryIO = path.open("wb")
        self._body_bytes = 0
        self._announced: int | None = None
        self.started = False

    @property
    def is_too_large(self) -> bool:
        return self._left <= 0

    def start(self, status: int, fields: Iterable[tuple[str, str]], phrase: str | None = None) -> None:
        """Write the head; later calls write another one in its place as long as no body came."""
        if not 200 <= status <= 599:
            raise BrokenResponse(f"{status} is not the status of a response")
        kept = end_to_end(fields)
        lines = [f"HTTP/1.1 {status} {_phrase(status) if phrase is None else phrase}"]
        lines += [f"{name.lower()}: {value}" for name, value in kept]
        if any(character in line for line in lines for character in "\r\n\0"):
            raise BrokenResponse("a header field of the response holds a line break")
        lengths = [value for name, value in kept if name.lower() == "content-length"]
        if len(set(lengths)) > 1 or not all(value.isdigit() for value in lengths):
            raise BrokenResponse(f"the response has a Content-Length of {', '.join(lengths)}")
        self._announced = int(lengths[0]) if lengths and status not in (204, 304) else None
        self._file.seek(0)
        self._file.truncate()
        self._file.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        self.started = True

    def write(self, chunk: bytes) -> None:
        if not self.started:
            raise BrokenResponse("the body of the response came before its status")
        self._body_bytes += len(chunk)
        self._file.write(chunk[: max(0, self._left)])
        self._left -= len(chunk)

    def finish(self) -> File:
        """Return the whole response. Raise BrokenResponse when it is not whole."""
        if not self.started:
            raise BrokenResponse("the application gave no response")
        if self._announced not in (None, self._body_bytes) and not self.is_too_large:
            raise BrokenResponse(
                f"the response announced {self._announced:,} bytes and had {self._body_bytes:,}: it is not whole"
            )
        self._file.close()
        return File(self._path, name="response.http", type=MESSAGE_TYPE)

    def close(self) -> None:
        self._file.close()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
