"""The published tests of places for files, for every one of ours."""

import os

import pytest

from offload.blobs import objects
from offload.conformance.places import BlobPlace
from offload.conformance.test_blobs import *  # noqa: F403
from offload.conformance.test_blobs import LARGE, read, write
from offload.core.errors import StoreUnavailable
from offload.ports import Blobs


async def test_a_directory_tells_its_room_and_a_bucket_has_no_end(blob_place: BlobPlace) -> None:
    await blob_place.blobs.start()
    assert (await blob_place.blobs.free_bytes() is None) == (blob_place.age is None)


async def test_what_is_too_large_to_be_copied_there_is_copied_through_here(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "COPY_BYTES_MAX", len(LARGE) - 1)
    await blobs.start()
    await write(blobs, "f/1", LARGE)
    await blobs.copy("f/1", "t/1/in/0")
    assert await read(blobs, "t/1/in/0") == LARGE


@pytest.mark.parametrize("blobs_factory", ["local", "seaweedfs", "gcs"], indirect=True)  # nanio knows no If-Match
async def test_what_is_replaced_while_it_is_read_is_no_mixture_of_both(blobs: Blobs) -> None:
    await blobs.start()
    await write(blobs, "f/1", LARGE)
    other = os.urandom(len(LARGE))
    pieces = blobs.read("f/1")
    found = await anext(pieces)
    await write(blobs, "f/1", other)
    try:
        async for piece in pieces:
            found += piece
    except StoreUnavailable:
        return  # so that it is read once more
    assert found == LARGE
