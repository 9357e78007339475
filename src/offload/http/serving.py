"""Stored bytes as an answer: ranges, names, validators."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from offload.core.errors import FileDoesNotExist, OffloadError
from offload.core.task import FileRef
from offload.http.browsers import HELD_FIELDS, INERT_TYPES, OWN_FIELDS, check_use
from offload.http.call import Call, until_gone
from offload.http.conditional import Span, choose_span, not_modified
from offload.http.present import JSON_TYPE


class FileAnswer(Response):
    """Streams a part of a blob; a client that has gone ends it, and the connection ends with one that does not read."""

    def __init__(self, first: bytes, rest: AsyncIterator[bytes], status: int) -> None:
        super().__init__(b"", status)
        self.raw_headers.clear()
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        gone = asyncio.ensure_future(until_gone(receive))
        try:
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
            async for chunk in self._rest:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()


async def serve_file(call: Call, file: FileRef, gone: OffloadError) -> Response:
    """Answer with a blob, or raise `gone` when it is not there any more."""
    check_use(call.fields.get(b"sec-fetch-dest"))
    etag = f'"{file.sha256}"' if file.sha256 else None
    if etag is not None and not_modified(call.header(b"if-none-match"), etag):
        response = Response(status_code=304)
        response.raw_headers.append((b"etag", etag.encode()))
        return response
    if _may_go_elsewhere(call, file):
        return await _redirect(call, file)
    span = choose_span(
        file.size, call.header(b"range") if call.method == "GET" else None, call.header(b"if-range"), etag
    )
    chunks = _chunks(call, file, span)
    try:
        first = b"" if call.method == "HEAD" or span.size == 0 else await anext(chunks)
    except (FileDoesNotExist, StopAsyncIteration):
        raise gone from None
    status = 206 if span.partial else 200
    if call.method == "HEAD":
        response = Response(status_code=status)
        response.raw_headers.clear()
    else:
        response = FileAnswer(first, chunks, status)
    response.raw_headers.extend(_headers(file, span, etag))
    return response


def _may_go_elsewhere(call: Call, file: FileRef) -> bool:
    """Tell whether this client may read a file from the blob store itself.

    A page's own requests are answered here: another origin would ask the browser for leave that a bucket rarely has.
    """
    least = call.config.redirect_min_bytes
    by_script = (call.header(b"sec-fetch-mode") or "navigate") != "navigate"
    elsewhere = call.engine.parts.blob_links is not None and least is not None and file.size >= least
    return elsewhere and call.method == "GET" and not by_script


async def _redirect(call: Call, file: FileRef) -> Response:
    links = call.engine.parts.blob_links
    assert links is not None
    url = await links.to_read(
        file.blob,
        type=_told_type(file),
        disposition=content_disposition(file.name, file.type),
        seconds=call.config.blob_link_seconds,
    )
    response = Response(status_code=307)
    response.raw_headers.extend((
        (b"location", url.encode()),
        *OWN_FIELDS,
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
    ))  # fmt: skip
    return response


def serve_json(call: Call, body: bytes, etag: str) -> Response:
    """Answer with a JSON result that is in memory."""
    if not_modified(call.header(b"if-none-match"), etag):
        response = Response(status_code=304)
    else:
        span = choose_span(
            len(body), call.header(b"range") if call.method == "GET" else None, call.header(b"if-range"), etag
        )
        part = body[span.start : span.start + span.size] if span.partial else body
        response = Response(part, 206 if span.partial else 200, media_type=JSON_TYPE)
        response.raw_headers.extend(((b"accept-ranges", b"bytes"), *_content_range(span), *HELD_FIELDS))
    response.raw_headers.append((b"etag", etag.encode()))
    return response


def content_disposition(name: str, media_type: str) -> str:
    """Return the field of RFC 6266: the name as plain ASCII, and as UTF-8 for those who can."""
    kind = "inline" if media_type in INERT_TYPES else "attachment"
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name) or "file"
    if plain == name:
        return f'{kind}; filename="{plain}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name.encode('utf-8', 'replace'), safe='')}"


async def _chunks(call: Call, file: FileRef, span: Span) -> AsyncIterator[bytes]:
    left = span.size
    async for chunk in call.engine.blobs.read(file.blob, start=span.start, size=span.size):
        left -= len(chunk)
        yield chunk
    if left:
        raise OSError(f"blob {file.blob} ended {left} bytes too early")  # the client sees the connection break


def _headers(file: FileRef, span: Span, etag: str | None) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-type", _told_type(file).encode("ascii", "replace")),
        (b"content-length", b"%d" % span.size),
        (b"content-disposition", content_disposition(file.name, file.type).encode()),
        (b"accept-ranges", b"bytes"),
        *_content_range(span),
        *HELD_FIELDS,
    ]
    if etag is not None:
        headers.append((b"etag", etag.encode()))
    return headers


def _told_type(file: FileRef) -> str:
    return "text/plain; charset=utf-8" if file.type == "text/plain" else file.type


def _content_range(span: Span) -> list[tuple[bytes, bytes]]:
    if not span.partial:
        return []
    return [(b"content-range", f"bytes {span.start}-{span.start + span.size - 1}/{span.total}".encode())]
