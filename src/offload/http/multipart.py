"""multipart/form-data: fields kept in memory under a limit, files streamed to where the caller wants them."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import unquote

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    content_disposition_unquote,
    parse_options_header,
)

from offload.core.errors import BodyTooLarge
from offload.core.task import Record
from offload.http.problems import WrongBody
from offload.ports import BlobWriter

PARTS_MAX = 100
PART_HEADER_BYTES_MAX = 8 * 1024
BOUNDARY_MAX = 70
_EXTENDED_NAME = re.compile(r";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s\"]+)", re.IGNORECASE)
"""How a field that is ASCII names what is not (RFC 8187)."""


class FormLimits(Record, frozen=True, kw_only=True):
    """What one form may hold beside the size of its body."""

    fields_bytes_max: int
    """All text fields together."""
    files_max: int


class Part(Record, frozen=True, kw_only=True):
    """The header of a part that carries a file."""

    field: str
    name: str
    type: str


class Form(Record, frozen=True, kw_only=True):
    """The text fields of a form, in order; its files went to their writers."""

    fields: list[tuple[str, str]]


StartFile = Callable[[Part], Awaitable[BlobWriter]]
EndFile = Callable[[Part, int, str], None]


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a Content-Type names. Raise WrongBody."""
    boundary = str(parse_options_header(content_type)[1].get("boundary", ""))
    if (
        not 1 <= len(boundary) <= BOUNDARY_MAX
        or not boundary.isascii()
        or not boundary.isprintable()
        or boundary[-1] == " "
    ):
        raise WrongBody(f"a multipart body needs a boundary of 1 to {BOUNDARY_MAX} printable ASCII characters")
    return boundary.encode()


class FormReader:
    """Reads one form. A part with a file name goes to the writer that `start_file` gives; `end_file` hears of it."""

    def __init__(self, boundary: bytes, limits: FormLimits, start_file: StartFile, end_file: EndFile) -> None:
        # not strict: that refuses the line break which every client sends after the last boundary, when it comes alone
        self._parser = PushMultipartParser(boundary, max_header_size=PART_HEADER_BYTES_MAX, max_segment_count=PARTS_MAX)
        self._opening = b"--" + boundary
        self._limits = limits
        self._start_file = start_file
        self._end_file = end_file
        self._fields: list[tuple[str, str]] = []
        self._field_bytes = 0
        self._files = 0
        self._name = ""
        self._text: list[bytes] | None = None
        self._part: Part | None = None
        self._writer: BlobWriter | None = None

    async def read(self, chunks: AsyncIterator[bytes]) -> Form:
        """Read the whole form. Raise WrongBody or BodyTooLarge; then no unfinished file remains."""
        try:
            async for chunk in self._after_opening(chunks):
                for event in self._parser.parse(chunk):
                    await self._take(event)
            self._parser.close()
            return Form(fields=self._fields)
        except ParserLimitReached as error:
            bounds = f"{PARTS_MAX} parts, {PART_HEADER_BYTES_MAX} bytes of header each"
            raise WrongBody(f"the multipart body is beyond a bound ({bounds}): {error}") from None
        except (MultipartError, UnicodeError) as error:
            raise WrongBody(f"the body is not valid multipart/form-data: {error}") from None
        finally:
            if self._writer is not None:
                await self._writer.abort()

    async def _after_opening(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass chunks on once the body began with its boundary: megabytes of preamble are refused at once."""
        first: bytes | None = b""
        async for chunk in chunks:
            if first is None:
                yield chunk
                continue
            first += chunk
            if len(first) >= len(self._opening) + 2:
                if not first.removeprefix(b"\r\n").startswith(self._opening):
                    raise WrongBody("the multipart body does not begin with its boundary")
                yield first
                first = None
        if first is not None:
            raise WrongBody("the multipart body ends before it began")

    async def _take(self, event: MultipartSegment | bytes | None) -> None:
        if isinstance(event, MultipartSegment):
            await self._begin(event)
        elif event is None:
            await self._end()
        elif self._writer is not None:
            await self._writer.write(bytes(event))
        else:
            assert self._text is not None
            self._field_bytes += len(event)
            if self._field_bytes > self._limits.fields_bytes_max:
                raise BodyTooLarge("the text of the form's fields", self._limits.fields_bytes_max)
            self._text.append(bytes(event))

    async def _begin(self, segment: MultipartSegment) -> None:
        header_bytes = sum(len(name) + len(value) for name, value in segment.headerlist)
        if header_bytes > PART_HEADER_BYTES_MAX:
            raise WrongBody(f"the header of a part is larger than {PART_HEADER_BYTES_MAX} bytes")
        if not segment.name:
            raise WrongBody("a part of the form has no name")
        self._name = clean(str(segment.name), "the name of a field")
        self._field_bytes += len(self._name)
        if segment.filename is None:
            self._text = []
            return
        self._files += 1
        if self._files > self._limits.files_max:
            raise WrongBody(f"the form has more than {self._limits.files_max} files")
        self._part = Part(field=self._name, name=str(segment.filename), type=str(segment.header("Content-Type") or ""))
        self._writer = await self._start_file(self._part)

    async def _end(self) -> None:
        if self._writer is not None:
            assert self._part is not None
            size, sha256 = await self._writer.commit()
            self._writer = None
            self._end_file(self._part, size, sha256)
        else:
            assert self._text is not None
            self._fields.append((self._name, b"".join(self._text).decode("utf-8")))
            self._text = None


def file_name_of(content_disposition: str | None) -> str:
    """Return the file name that a Content-Disposition field gives, empty when none."""
    if content_disposition is None:
        return ""
    if extended := _EXTENDED_NAME.search(content_disposition):
        return unquote(extended[1], errors="replace")
    return str(parse_options_header(content_disposition, unquote=content_disposition_unquote)[1].get("filename", ""))


def clean(text: str, what: str) -> str:
    """Return a text of a form or header as it is, or raise WrongBody for control characters."""
    if any(character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in text):
        raise WrongBody(f"{what} holds a control character")
    return text
