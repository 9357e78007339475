"""Signed URLs of S3, against the example that the documentation of Signature Version 4 works through."""

import pytest

from offload.blobs.presign import Credentials, presign

# the example keys of that documentation, which open nothing
EXAMPLE = Credentials(
    access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", region="us-east-1"
)
MAY_24_2013 = 1369353600.0


def test_the_documented_example_comes_out() -> None:
    url = presign("GET", "https://examplebucket.s3.amazonaws.com/test.txt", EXAMPLE, now=MAY_24_2013, seconds=86400)
    assert url.startswith("https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" in url
    assert url.endswith("&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


@pytest.mark.parametrize("seconds", [0, -1, 8 * 86400])
def test_a_link_works_for_some_time_and_not_for_ever(seconds: float) -> None:
    with pytest.raises(AssertionError):
        presign("GET", "https://b.s3.amazonaws.com/x", EXAMPLE, now=MAY_24_2013, seconds=seconds)
