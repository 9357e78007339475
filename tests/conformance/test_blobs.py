"""The published tests of places for files, for every one of ours."""

from offload.conformance.places import BlobPlace
from offload.conformance.test_blobs import *  # noqa: F403


async def test_a_directory_tells_its_room_and_a_bucket_has_no_end(blob_place: BlobPlace) -> None:
    await blob_place.blobs.start()
    assert (await blob_place.blobs.free_bytes() is None) == (blob_place.age is None)
