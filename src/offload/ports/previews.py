"""Pictures of what a browser must not open by itself."""

from collections.abc import AsyncIterator
from typing import Protocol

from offload.core.errors import OffloadError
from offload.core.task import Record


class NoPreview(OffloadError):
    """This file, or this page of it, cannot be shown as a picture; the file itself is as it was."""

    code = "NoPreview"

    def __init__(self, why: str) -> None:
        super().__init__(f"no preview of this file: {why}")


class Preview(Record, frozen=True, kw_only=True):
    """One page as a picture."""

    png: bytes
    pages: int
    """How many the file has."""


class Previews(Protocol):
    """Draws pages of files that strangers made, where that can harm nothing."""

    async def page(self, chunks: AsyncIterator[bytes], *, size: int, number: int) -> Preview:
        """Draw a page of a PDF file of `size` bytes, counted from 1.

        Raise NoPreview when this file, or this page of it, cannot be shown, TryAgain when too many others are drawn;
        and what reading `chunks` raises.
        """
