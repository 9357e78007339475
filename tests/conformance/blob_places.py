"""Where the promises of blob stores are checked: each place can say, past its adapter, what is really there."""

import os

import obstore

from offload.blobs.cache import Cache
from offload.blobs.local import LocalBlobs
from offload.blobs.objects import ObjectBlobs
from offload.conformance.places import BlobPlace, Place
from tests.backends.azure import Azure
from tests.backends.gcs import Gcs
from tests.backends.s3 import S3
from tests.trees import files_below

CACHE_BYTES = 256 * 1024**2


def local(place: Place) -> BlobPlace:
    root = place.folder / "blobs"

    def left() -> list[str]:
        return files_below(root)

    def age(prefix: str) -> None:
        for path in [root / prefix, *(root / prefix).rglob("*")]:
            os.utime(path, (1_000_000, 1_000_000))

    return BlobPlace(blobs=LocalBlobs(root), left=left, age=age, sweeps_at_start=True)


def objects(server: S3 | Gcs | Azure, place: Place) -> BlobPlace:
    """Return a place below a prefix that no other test has."""
    store = server.store(prefix=place.name)
    cache = Cache(place.folder / "cache", bytes_max=CACHE_BYTES, idle_seconds_max=3600.0)

    def left() -> list[str]:
        names = [found["path"] for found in obstore.list(store).collect()]
        return sorted([*names, *(f"unfinished {name}" for name in server.unfinished() if name.startswith(place.name))])

    return BlobPlace(blobs=ObjectBlobs(store, cache, copier=store, place="the test's own"), left=left)
