"""Pictures that no job may stumble over: empty, cut off, made up, and far too large once unpacked."""

import struct
import zlib
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "examples" / "data"


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that promises so many pixels, and has a few."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1_000))
        + chunk(b"IEND", b"")
    )


for_each = pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not an image"),
        (b"just words", "not an image"),
        ((DATA / "rocket.jpg").read_bytes()[:20_000], "damaged"),
        (png_header(20_000, 20_000), "20000 x 20000 pixels"),
        (png_header(100, 100), "damaged"),
    ],
    ids=["empty", "text", "half", "bomb", "only a header"],
)
"""The bytes, and what is said of them."""
