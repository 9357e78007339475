"""From Python values to a body: JSON when there is no file among them, else a form that streams the files."""

import dataclasses
import math
import mimetypes
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from offload.client.effects import Body
from offload.core.errors import WrongInput

CHUNK_BYTES = 256 * 1024
FALLBACK_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One file on its way up; `open` gives it from its beginning each time."""

    name: str
    type: str
    size: int | None
    open: Callable[[], IO[bytes]] | bytes
    repeatable: bool = True
    owned: bool = False
    """We opened it, so we close it."""

    def chunks(self) -> Iterator[bytes]:
        if isinstance(self.open, bytes):
            yield self.open
            return
        source = self.open()
        try:
            while chunk := source.read(CHUNK_BYTES):
                yield chunk
        finally:
            if self.owned:
                source.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the input a file stands."""

    path: tuple[str | int, ...]
    file: Attachment


def attachments(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[Place]:
    """Yield every file in an input with its place."""
    if (file := as_attachment(value)) is not None:
        yield Place(path=path, file=file)
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from attachments(child, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield from attachments(child, (*path, index))


def as_attachment(value: Any, name: str | None = None) -> Attachment | None:
    """Return the file that a value is: a path, bytes, an open binary file or a File; None for anything else."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        given = name or "file"
        return Attachment(name=given, type=_type_of(given), size=len(bytes(value)), open=bytes(value))
    if (unwritten := getattr(value, "unwritten", None)) is not None:  # an offload.File of bytes or a stream
        found = as_attachment(unwritten, name or value.name)
        return found and dataclasses.replace(found, type=value.type)
    if isinstance(value, os.PathLike):
        return _of_path(value, name)
    if hasattr(value, "read"):
        return _of_stream(value, name)
    return None


def json_body(job: str, value: Any) -> Body:
    """Return an input as JSON. Raise WrongInput for what JSON cannot say."""
    return Body(type="application/json", content=encode(job, value))


def encode(job: str, value: Any) -> bytes:
    """Return the JSON of an input value. Raise WrongInput."""
    mistakes = list(_not_finite(value, ()))
    if mistakes:
        raise WrongInput(job, mistakes)
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError) as error:
        raise WrongInput(job, [{"loc": [], "message": f"cannot be sent as JSON: {error}"}]) from None


def form_fits(value: Mapping[str, Any], places: list[Place]) -> bool:
    """Tell whether a form can say this: files on top or in flat lists, and no null, for which forms have no word."""
    with_files = {place.path[0] for place in places}
    for name, child in value.items():
        if name not in with_files:
            if child is None or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                return False
        elif isinstance(child, (list, tuple)):
            if not all(as_attachment(item) is not None for item in child):
                return False
        elif as_attachment(child) is None:
            return False
    return True


def form_body(job: str, value: Mapping[str, Any], places: list[Place]) -> Body:
    """Return an input as multipart/form-data: texts first, so that mistakes in them can be told early, then files."""
    boundary = "offload-" + secrets.token_hex(12)
    with_files = {place.path[0] for place in places}
    texts = []
    for name, child in value.items():
        if name not in with_files:
            text = child.encode() if isinstance(child, str) else encode(job, child)
            texts.append(_part_head(boundary, name) + text + b"\r\n")
    heads = [_part_head(boundary, str(place.path[0]), place.file) for place in places]
    end = f"--{boundary}--\r\n".encode()
    sizes = [place.file.size for place in places]
    known = sum(map(len, texts)) + sum(len(head) + 2 for head in heads) + len(end)

    def stream() -> Iterator[bytes]:
        yield b"".join(texts)
        for head, place in zip(heads, places, strict=True):
            yield head
            yield from place.file.chunks()
            yield b"\r\n"
        yield end

    return Body(
        type=f"multipart/form-data; boundary={boundary}",
        stream=stream,
        size=None if None in sizes else known + sum(size for size in sizes if size is not None),
        repeatable=all(place.file.repeatable for place in places),
    )


def file_body(file: Attachment) -> Body:
    """Return one file as a whole body."""
    return Body(type=file.type, stream=file.chunks, size=file.size, repeatable=file.repeatable)


def disposition(file: Attachment) -> str:
    """Return the Content-Disposition that names a raw body (RFC 6266)."""
    return f'attachment; filename="{_quoted(file.name)}"'


def replaced(value: Any, values: Mapping[tuple[str | int, ...], Any], path: tuple[str | int, ...] = ()) -> Any:
    """Return the input with other values at some places."""
    if path in values:
        return values[path]
    if isinstance(value, Mapping):
        return {key: replaced(child, values, (*path, str(key))) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [replaced(child, values, (*path, index)) for index, child in enumerate(value)]
    return value


def _of_path(value: os.PathLike[str], name: str | None) -> Attachment:
    path = Path(value)
    given = name or getattr(value, "name", None) or path.name
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; send the files in it, or an archive")
    size = path.stat().st_size if path.is_file() else None  # a pipe or device has no size beforehand
    kind = getattr(value, "type", None)
    return Attachment(
        name=given,
        type=kind if isinstance(kind, str) else _type_of(given),
        size=size,
        open=lambda: path.open("rb"),
        repeatable=size is not None,
        owned=True,
    )


def _of_stream(value: Any, name: str | None) -> Attachment:
    if isinstance(value.read(0), str):
        raise TypeError(f"{value!r} is open for text; open it with mode 'rb'")
    raw = getattr(value, "name", None)
    given = name or (os.path.basename(raw) if isinstance(raw, str) and raw else "file")
    try:
        start = value.tell()
        size = value.seek(0, os.SEEK_END) - start
        value.seek(start)
    except (OSError, AttributeError, ValueError):
        return Attachment(name=given, type=_type_of(given), size=None, open=lambda: value, repeatable=False)

    def rewound() -> IO[bytes]:
        value.seek(start)
        stream: IO[bytes] = value
        return stream

    return Attachment(name=given, type=_type_of(given), size=size, open=rewound)


def _type_of(name: str) -> str:
    return mimetypes.guess_type(name)[0] or FALLBACK_TYPE


def _part_head(boundary: str, field: str, file: Attachment | None = None) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(field)}"'
    if file is not None:
        head += f'; filename="{_quoted(file.name)}"\r\nContent-Type: {file.type}'
    return f"{head}\r\n\r\n".encode()


def _quoted(text: str) -> str:
    """Escape as HTML forms do (WHATWG): the three characters that would end the quotes or the line."""
    clean = text.encode("utf-8", "replace").decode()
    return clean.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _not_finite(value: Any, path: tuple[str | int, ...]) -> Iterator[Mapping[str, Any]]:
    """Yield the places of NaN and infinities: encoders turn them into null without a word."""
    if isinstance(value, float) and not math.isfinite(value):
        yield {"loc": list(path), "message": f"{value} cannot be said in JSON"}
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _not_finite(child, (*path, str(key)))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, child in enumerate(value):
            yield from _not_finite(child, (*path, index))


def _plain(value: Any) -> Any:
    """Return what JSON can say of a value that msgspec does not know: pydantic models, numpy numbers."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    raise TypeError(f"{type(value).__qualname__} is no JSON value and no file")
