"""What `blobs` may say: a directory or a bucket, with clear words for everything else and no secrets in them."""

import sys
from pathlib import Path

import pytest

from offload.blobs.local import LocalBlobs
from offload.blobs.opening import BlobPlace, CacheLimits, open_blobs, parse_place
from offload.clock import SteadyClock
from offload.core.errors import WrongSetting

LIMITS = CacheLimits(bytes_max=1000)
CLOCK = SteadyClock()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("file:///var/lib/my%20blobs", Path("/var/lib/my blobs")),
        ("s3://bucket", BlobPlace(kind="s3", bucket="bucket", prefix="")),
        ("s3://my.bucket-1/a/b/", BlobPlace(kind="s3", bucket="my.bucket-1", prefix="a/b")),
        (
            "s3://bucket/a?endpoint=http://127.0.0.1:9000&region=eu-west-1&path_style=no",
            BlobPlace(
                kind="s3", bucket="bucket", prefix="a",
                options={"endpoint": "http://127.0.0.1:9000", "region": "eu-west-1", "path_style": "no"},
            ),
        ),
        ("gs://bucket/x", BlobPlace(kind="gs", bucket="bucket", prefix="x")),
        ("az://container?account=me", BlobPlace(kind="az", bucket="container", prefix="", options={"account": "me"})),
    ],
)  # fmt: skip
def test_a_place_is_read_from_its_url(url: str, place: BlobPlace | Path) -> None:
    assert parse_place(url) == place


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("bucket", "s3://bucket/prefix"),
        ("ftp://bucket", "ftp:// is none of them"),
        ("file://relative/path", "three slashes"),
        ("file:///a?x=1", "three slashes"),
        ("s3://", "a bucket"),
        ("s3://../x", "a bucket"),
        ("s3://bucket/../x", "a bucket"),
        ("s3://bucket/a//b", "a bucket"),
        ("s3://bucket/a b", "a bucket"),
        ("s3://key:hush@bucket", "environment"),
        ("s3://bucket?secret_access_key=hush", "'secret_access_key'"),
        ("s3://bucket?endpoint=ftp://x", "http:// or https://"),
        ("s3://bucket?endpoint=http://me:hush@x", "without credentials"),
        ("s3://bucket?path_style=maybe", "yes or no"),
        ("gs://bucket?region=x", "'region'"),
    ],
)
def test_what_is_no_place_is_refused_with_a_reason(url: str, said: str) -> None:
    with pytest.raises(WrongSetting) as refused:
        parse_place(url)
    assert said in str(refused.value) and "hush" not in str(refused.value)


def test_a_directory_needs_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert isinstance(open_blobs("", tmp_path, LIMITS, {}, CLOCK).blobs, LocalBlobs)
    blobs, links = open_blobs(f"file://{tmp_path}/there", tmp_path, LIMITS, {}, CLOCK)
    assert links is None and isinstance(blobs, LocalBlobs) and blobs.path("t/1") == tmp_path / "there" / "t" / "1"


@pytest.mark.parametrize(("url", "extra"), [("s3://b", "s3"), ("gs://b", "gcs"), ("az://b", "azure")])
def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "offload.blobs.objects", raising=False)
    with pytest.raises(WrongSetting, match=rf'pip install "offload\[{extra}\]"'):
        open_blobs(url, tmp_path, LIMITS, {}, CLOCK)


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="ca_file: /not/there"):
        open_blobs("s3://bucket?ca_file=/not/there", tmp_path, LIMITS, {}, CLOCK)


@pytest.mark.parametrize("url", ["gs://bucket/x", "az://container?account=me", "az://container"])
def test_clients_of_other_clouds_are_made_or_say_what_they_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    if url == "az://container":
        with pytest.raises(WrongSetting, match="az://container: .*ccount"):
            open_blobs(url, tmp_path, LIMITS, {}, CLOCK)
    else:
        assert open_blobs(url, tmp_path, LIMITS, {}, CLOCK) is not None
