"""Files on their way to a server: an offload.File of bytes or of a stream is sent without being written first."""

import io
import os
from pathlib import Path

import pytest

from offload.client.inputs import attachments
from offload.core.files import File


@pytest.mark.parametrize("data", [b"bytes", io.BytesIO(b"bytes")], ids=["bytes", "stream"])
def test_a_file_that_is_not_written_is_sent_as_it_is(
    data: bytes | io.BytesIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (place,) = attachments({"file": File(data, name="cat.jpg", type="image/x-cat")})
    assert b"".join(place.file.chunks()) == b"bytes"
    assert (place.file.name, place.file.type, place.file.size) == ("cat.jpg", "image/x-cat", 5)
    assert os.listdir(tmp_path) == [], "sending a file left something in the working directory"


def test_a_file_on_the_disk_is_read_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"bytes")
    (place,) = attachments({"file": File(tmp_path / "cat.jpg")})
    assert b"".join(place.file.chunks()) == b"bytes"
