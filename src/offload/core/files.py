"""File: what a job receives and returns instead of loose bytes."""

import mimetypes
import os
import re
import tempfile
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, BinaryIO, final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

FALLBACK_TYPE = "application/octet-stream"
COPY_BYTES = 1 << 20

scratch: ContextVar[str | None] = ContextVar("scratch", default=None)
"""Where new files are written: set for each attempt of an async job, else the working directory is the place."""

# The machine's own mime.types is left out, so that a name means the same type everywhere.
_TYPES = mimetypes.MimeTypes(filenames=())
for _type, _suffix in (
    ("image/webp", ".webp"),
    ("image/avif", ".avif"),
    ("image/heic", ".heic"),
    ("image/jp2", ".jp2"),
    ("audio/flac", ".flac"),
    ("audio/ogg", ".ogg"),
    ("audio/opus", ".opus"),
    ("audio/mp4", ".m4a"),
    ("video/x-matroska", ".mkv"),
    ("text/markdown", ".md"),
    ("application/x-ndjson", ".jsonl"),
    ("application/yaml", ".yaml"),
    ("application/toml", ".toml"),
    ("application/vnd.apache.parquet", ".parquet"),
    ("application/zstd", ".zst"),
    ("application/gzip", ".gz"),
):
    _TYPES.add_type(_type, _suffix)


@final
class File(os.PathLike[str]):
    """A file that a job receives or returns; usable wherever a path is.

    Made from bytes, a path, or an open binary file, it guesses its type from its name. Nothing is written before
    `path` is asked for; then bytes go into the task's scratch directory.
    """

    def __init__(
        self,
        data: "bytes | str | os.PathLike[str] | BinaryIO | IO[bytes]",
        name: str | None = None,
        type: str | None = None,
    ) -> None:
        self._path: Path | None = None
        self._data: bytes | None = None
        self._stream: BinaryIO | IO[bytes] | None = None
        if isinstance(data, (bytes, bytearray, memoryview)):
            self._data = bytes(data)
        elif isinstance(data, (str, os.PathLike)):
            self._path = Path(os.path.abspath(data))  # the working directory may change later
        elif hasattr(data, "read"):
            self._stream = data
        else:
            raise TypeError(f"a File is made from bytes, a path or an open binary file, not {_name_of(data)}")
        self.name = name or _given_name(data) or "file" + (_TYPES.guess_extension(type) or "" if type else "")
        self.type = type or type_of(self.name)

    @classmethod
    def save(cls, thing: Any, *, format: str, name: str | None = None, **options: Any) -> "File":
        """Save anything that has `.save(path, format=…)`, or `.savefig`, into the scratch directory."""
        write = getattr(thing, "save", None) or getattr(thing, "savefig", None)
        if write is None:
            raise TypeError(f"File.save needs something with a save method, not {_name_of(thing)}")
        suffix = "." + format.lower()
        path = _new_path(suffix)
        write(path, format=format, **options)
        return cls(path, name=name or f"result{suffix}")

    @property
    def path(self) -> Path:
        if self._path is None:
            self._path = self._write()
        return self._path

    @property
    def unwritten(self) -> "bytes | BinaryIO | IO[bytes] | None":
        """Return the bytes or stream it was made from while they are in no file yet: to send them, they need none."""
        return self._data if self._data is not None else self._stream

    @property
    def size(self) -> int:
        """Return the length in bytes."""
        return len(self._data) if self._data is not None else self.path.stat().st_size

    def open(self, mode: str = "rb") -> IO[Any]:
        return self.path.open(mode)

    def read_bytes(self) -> bytes:
        return self._data if self._data is not None else self.path.read_bytes()

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"File(name={self.name!r}, type={self.type!r})"

    def _write(self) -> Path:
        path = Path(_new_path(os.path.splitext(self.name)[1]))
        with path.open("wb") as target:
            if self._data is not None:
                target.write(self._data)
            else:
                assert self._stream is not None
                while chunk := self._stream.read(COPY_BYTES):
                    target.write(chunk)
        self._data, self._stream = None, None
        return path

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_accept, metadata={MARK: True})

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "binary", "description": HOW_TO_GIVE}


_STATED = re.compile(r"[\w!#$&^.+-]{1,64}/[\w!#$&^.+-]{1,64}(?:[ \t]*;[\x20-\x2b\x2d-\x7e]{0,120})?", re.ASCII)

MARK = "offload_file"
HOW_TO_GIVE = "A file: uploaded, or inside JSON a string: an https:// URL, a data: URL, or file:{id} of a stored file."


class Pending:
    """A file that an input promises: its bytes are not there yet when the input is checked."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ValueError("a file has no content yet while the input is checked; look at it inside the job")


def as_file(value: object) -> File | None:
    """Return the File that a job's result is, or None when it is something else."""
    if isinstance(value, File):
        return value
    return File(value) if isinstance(value, Path) else None


def type_of(name: str) -> str:
    """Return the media type that a file name suggests."""
    guessed, encoding = _TYPES.guess_type(name)
    if encoding == "gzip":
        return "application/gzip"  # what the bytes are, not what is inside
    return guessed if guessed and not encoding else FALLBACK_TYPE


def stated_type(given: str, name: str) -> str:
    """Return a media type as a header may have it, parameters included; else what the name suggests."""
    return given if _STATED.fullmatch(given) else type_of(name)


def _accept(value: object) -> object:
    """Take a File, or whatever says that it stands for one."""
    if isinstance(value, (File, Pending)):
        return value
    promised = getattr(value, "as_pending_file", None)
    if promised is None:
        raise ValueError("not a file: upload one, or give a string with an https:// URL, a data: URL or file:{id}")
    return promised()


def _given_name(data: object) -> str:
    """Return the name that the data itself brings; an open file may have a number or nothing instead."""
    found = data if isinstance(data, (str, os.PathLike)) else getattr(data, "name", None)
    return os.path.basename(os.fspath(found)) if isinstance(found, (str, os.PathLike)) else ""


def _new_path(suffix: str) -> str:
    # Only a plain suffix of a name ever becomes part of a path: names come from clients.
    plain = suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,12}", suffix) else ""
    descriptor, path = tempfile.mkstemp(suffix=plain, prefix="file-", dir=scratch.get() or os.getcwd())
    os.close(descriptor)
    return path


def _name_of(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
