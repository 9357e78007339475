"""Nodes can tell whether they have the same files."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from offload.blobs.identity import identity


def test_one_directory_is_the_same_for_all_who_use_it_and_another_is_not(tmp_path: Path) -> None:
    for name in ("one/blobs", "two/blobs"):
        (tmp_path / name).mkdir(parents=True)
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: identity("", tmp_path / "one"), range(16)))
    assert len(found) == 1 and found != {""}
    assert identity(f"file://{tmp_path}/one/blobs", tmp_path / "elsewhere") in found
    assert identity("", tmp_path / "two") not in found
    assert [path.name for path in (tmp_path / "one/blobs").iterdir()] == [".id"]


def test_a_bucket_is_known_by_its_address() -> None:
    assert (
        identity("s3://bucket/prefix", Path("/a")) == identity("s3://bucket/prefix", Path("/b")) == "s3://bucket/prefix"
    )
    assert identity("s3://bucket/other", Path("/a")) != identity("s3://bucket/prefix", Path("/a"))
