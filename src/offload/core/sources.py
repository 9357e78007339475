"""Where the files of an input come from, and how they stand in the input while they are not there."""

import base64
import binascii
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from pydantic import BaseModel

from offload.core.files import Pending
from offload.core.task import Record

_SCHEMES = ("data:", "file:", "http:", "https:")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}")
_FILE_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
URL_CHARACTERS_MAX = 8192


class FileSource(Record, frozen=True, kw_only=True):
    """What stands at `field` of an input: where its bytes will come from."""

    field: str
    """The path in the input, as in `images.2`."""
    kind: Literal["upload", "data", "file", "url"]
    value: str
    """The number of the upload, the whole data: URL, the id of a stored file, or the URL."""
    name: str = ""
    type: str = ""


def shown_url(url: str) -> str:
    """Return a URL as everybody may see it: without user, query and fragment, which hold passwords and signatures."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "…"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Stands in an input for the uploaded part with this number."""

    index: int


class DataUrl(NamedTuple):
    data: bytes
    type: str
    name: str


def parse_data_url(url: str) -> DataUrl:
    """Return what a `data:` URL (RFC 2397) holds, or raise ValueError."""
    head, comma, payload = url[5:].partition(",")
    if not comma:
        raise ValueError("not a data: URL: there is no comma before the data")
    media_type, *parameters = head.split(";")
    is_base64 = bool(parameters) and parameters[-1].strip().lower() == "base64"
    names = [unquote(p[5:]) for p in parameters if p.lower().startswith("name=")]
    media_type = media_type.strip() or "text/plain"
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise ValueError("not a data: URL: its media type is wrong")
    if not is_base64:
        return DataUrl(unquote_to_bytes(payload), media_type, "".join(names[:1]))
    try:
        data = base64.b64decode(unquote(payload) if "%" in payload else payload, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not a data: URL: the data after the comma is not base64") from None
    return DataUrl(data, media_type, "".join(names[:1]))


Leaf = Callable[[str, Any], Any]


def map_leaves(value: Any, change: Leaf, place: str = "") -> Any:
    """Copy JSON-like data, giving each leaf and its path to `change`."""
    if isinstance(value, dict):
        return {key: map_leaves(child, change, f"{place}.{key}" if place else str(key)) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [map_leaves(child, change, f"{place}.{index}") for index, child in enumerate(value)]
    return change(place, value)


def stand_in(place: str, leaf: Any) -> Any:
    """Give what may become a file its place to remember; it stays the string it is for any other type."""
    if isinstance(leaf, Uploaded):
        return _PlacedUpload(FileSource(field=place, kind="upload", value=str(leaf.index)))
    if isinstance(leaf, str) and leaf[:6].lower().startswith(_SCHEMES):
        text = _PlacedText(leaf)
        text.place = place
        return text
    return leaf


def pending_in(value: Any) -> Iterator[FileSource]:
    """Yield the sources of all files that a checked input holds, in models and dataclasses too."""
    if isinstance(value, Pending):
        yield value.source
    elif isinstance(value, BaseModel):
        yield from pending_in([*value.__dict__.values(), *(value.__pydantic_extra__ or {}).values()])
    elif is_dataclass(value) and not isinstance(value, type):
        yield from pending_in([getattr(value, field.name, None) for field in fields(value)])
    elif isinstance(value, Mapping):
        yield from pending_in(list(value.values()))
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        for child in value:
            yield from pending_in(child)


class _PlacedUpload:
    def __init__(self, source: FileSource) -> None:
        self._source = source

    def as_pending_file(self) -> Pending:
        return Pending(self._source)


class _PlacedText(str):
    """A string of the input that may name a file."""

    __slots__ = ("place",)
    place: str

    def as_pending_file(self) -> Pending:
        return Pending(_source_of(str(self), self.place))


def _source_of(text: str, place: str) -> FileSource:
    scheme, _, rest = text.partition(":")
    if scheme.lower() == "data":
        found = parse_data_url(text)
        return FileSource(field=place, kind="data", value=text, name=found.name, type=found.type)
    if scheme.lower() == "file":
        if not _FILE_ID.fullmatch(rest):
            raise ValueError("not a stored file: write file:{id} with the id that POST /v1/files answered")
        return FileSource(field=place, kind="file", value=rest)
    if len(text) > URL_CHARACTERS_MAX or any(character <= " " for character in text) or not urlsplit(text).hostname:
        raise ValueError("not a usable URL: it needs a host, no spaces, and at most 8192 characters")
    return FileSource(field=place, kind="url", value=text)
