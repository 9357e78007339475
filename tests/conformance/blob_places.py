"""Where the promises of blob stores are checked: each place can say, past its adapter, what is really there."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import obstore

from offload.blobs.cache import Cache
from offload.blobs.local import LocalBlobs
from offload.blobs.objects import ObjectBlobs
from offload.ports import Blobs
from tests.backends.s3 import S3

CACHE_BYTES = 256 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Place:
    """Blobs that are not started."""

    blobs: Blobs
    left: Callable[[], list[str]]
    """Name whatever is there: blobs, and what could become one."""
    age: Callable[[str], None] | None
    """Make everything below a prefix look as if it were old; None: only the store has a say in that."""


def local(folder: Path) -> Place:
    root = folder / "blobs"

    def left() -> list[str]:
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def age(prefix: str) -> None:
        for path in [root / prefix, *(root / prefix).rglob("*")]:
            os.utime(path, (1_000_000, 1_000_000))

    return Place(blobs=LocalBlobs(root), left=left, age=age)


def s3(server: S3, folder: Path) -> Place:
    """Return a place below a prefix that no other test has."""
    prefix = folder.name.replace("[", "-").replace("]", "-")
    store = server.store(prefix=prefix)
    cache = Cache(folder / "cache", bytes_max=CACHE_BYTES, idle_seconds_max=3600.0)

    def left() -> list[str]:
        names = [found["path"] for found in obstore.list(store).collect()]
        return sorted([*names, *(f"unfinished {name}" for name in server.unfinished() if name.startswith(prefix))])

    return Place(blobs=ObjectBlobs(store, cache, copier=store, place="s3://test"), left=left, age=None)
