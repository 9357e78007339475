"""Pages of PDF files as pictures: each drawn by a process that is started for it and may do hardly anything."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import msgspec

from offload.core.errors import TryAgain
from offload.core.task import Record, Seconds
from offload.ports.previews import NoPreview, Preview

CHILD = Path(__file__).with_name("draw.py")
ANSWER_BYTES_MAX = 16 * 1024**2
"""More than any picture of the size that the child draws."""
RETRY_SECONDS = 3
BROKEN = "it is damaged, or no PDF file"
SLOW = "drawing it takes too long"
WORDS = {
    "password": "it is protected by a password",
    "broken": BROKEN,
    "page": "this page of it is damaged",
    "memory": "it needs too much memory",
}


class Limits(Record, frozen=True, kw_only=True):
    """What previews may take of the machine."""

    at_once_max: int = 2
    waiting_max: int = 8
    """More are told to come back."""
    wait_seconds_max: Seconds = 10.0
    seconds_max: Seconds = 15.0
    """For reading the file and drawing its page."""
    cpu_seconds_max: int = 10
    memory_bytes_max: int = 640 * 1024**2
    """The file itself is part of it."""
    file_bytes_max: int = 64 * 1024**2


class _Said(msgspec.Struct):
    """The first line of what the child says; a picture follows."""

    pages: int = 0
    why: str = ""
    """Empty, or why there is no picture."""


def library_folder() -> Path | None:
    """Return where the library that draws is installed, None when it is not; nothing of it is loaded here."""
    found = find_spec("pypdfium2_raw")
    return None if found is None or found.origin is None else Path(found.origin).parents[1]


class PdfPreviews:
    """A few at a time, so that they take little from the node's work."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        self._folder = folder
        self._limits = limits or Limits()
        self._places = asyncio.Semaphore(self._limits.at_once_max)
        self._inside = 0

    async def page(self, chunks: AsyncIterator[bytes], *, size: int, number: int) -> Preview:
        limits = self._limits
        if size > limits.file_bytes_max:
            raise NoPreview(f"it is larger than {limits.file_bytes_max:,} bytes")
        if self._inside >= limits.at_once_max + limits.waiting_max:
            raise _busy()
        self._inside += 1
        try:
            async with asyncio.timeout(limits.wait_seconds_max):
                await self._places.acquire()
        except TimeoutError:
            raise _busy() from None
        else:
            try:
                return await self._drawn(chunks, size, number)
            finally:
                self._places.release()
        finally:
            self._inside -= 1

    async def _drawn(self, chunks: AsyncIterator[bytes], size: int, number: int) -> Preview:
        process = await asyncio.create_subprocess_exec(
            # -I and -S: no variable, no package but the one named, nothing of the working directory
            sys.executable, "-I", "-S", str(CHILD), str(self._folder), str(size), str(number),
            str(self._limits.cpu_seconds_max), str(self._limits.memory_bytes_max), str(os.getpid()),
            stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={}, cwd="/", start_new_session=True,
        )  # fmt: skip
        feeding = asyncio.ensure_future(_feed(process, chunks))
        try:
            async with asyncio.timeout(self._limits.seconds_max):
                answer = await _read(process)
                await feeding
                await process.wait()
        except TimeoutError:
            raise NoPreview(SLOW) from None
        finally:
            feeding.cancel()
            await _end(process)
            await asyncio.gather(feeding, return_exceptions=True)
        return _preview(answer, number, is_slow=process.returncode == -signal.SIGXCPU)


def _preview(answer: bytes, number: int, *, is_slow: bool) -> Preview:
    line, _, png = answer.partition(b"\n")
    try:
        said = msgspec.json.decode(line, type=_Said)
    except msgspec.DecodeError:  # it was ended by a limit, or by the library's own fault
        raise NoPreview(SLOW if is_slow else "drawing it fails") from None
    if said.why == "number":
        raise NoPreview(f"it has {said.pages:,} pages, and no page {number:,}")
    if said.why or not png:
        raise NoPreview(WORDS.get(said.why, BROKEN))
    return Preview(png=png, pages=said.pages)


async def _feed(process: Process, chunks: AsyncIterator[bytes]) -> None:
    """Hand the file over; a child that has seen enough, or is gone, need not read it all."""
    assert process.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            async for chunk in chunks:
                process.stdin.write(chunk)
                await process.stdin.drain()
    finally:
        process.stdin.close()


async def _read(process: Process) -> bytes:
    assert process.stdout is not None
    pieces, size = [], 0
    while piece := await process.stdout.read(256 * 1024):
        size += len(piece)
        if size > ANSWER_BYTES_MAX:
            raise NoPreview("its picture is too large")
        pieces.append(piece)
    return b"".join(pieces)


async def _end(process: Process) -> None:
    """Leave no process behind, whatever happened."""
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.kill()
    await process.wait()


def _busy() -> TryAgain:
    return TryAgain("this server draws as many previews as it may", retry_seconds=RETRY_SECONDS)
