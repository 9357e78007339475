"""Jobs that take and give files far larger than anything that is kept in memory."""

import hashlib
from pathlib import Path

from offload import File, job

PIECE_BYTES = 1 << 20


@job(timeout=300)
def digest(file: File) -> dict[str, object]:
    """Read a file in pieces."""
    found = hashlib.sha256()
    with file.open() as source:
        while piece := source.read(PIECE_BYTES):
            found.update(piece)
    return {"size": file.size, "sha256": found.hexdigest()}


@job(timeout=300)
def counted(pieces: int) -> Path:
    """Write a file in which every piece begins with its number."""
    path = Path("counted.bin")
    with path.open("wb") as target:
        for number in range(pieces):
            target.write(number.to_bytes(8, "big").ljust(PIECE_BYTES, b"."))
    return path
