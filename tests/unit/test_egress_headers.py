"""What the headers of far servers mean, whatever is in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offload.egress.headers import file_name, media_type, range_start, retry_after_seconds, validator

NOW = "Sat, 21 Nov 2026 09:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "Sat, 21 Nov 2026 09:02:00 GMT", "Date": NOW}, 120.0),
        ({"Retry-After": "Sat, 21 Nov 2026 08:00:00 GMT", "Date": NOW}, 0.0),
        ({"Retry-After": "Sat, 21 Nov 2026 09:02:00 GMT"}, None),
        ({"Retry-After": "999999999"}, 7 * 86400.0),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "٣"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers) == seconds


@pytest.mark.parametrize(
    ("disposition", "path", "name"),
    [
        ('attachment; filename="cat.jpg"', "/x", "cat.jpg"),
        ("attachment; filename=cat.jpg", "/x", "cat.jpg"),
        ("attachment; filename*=UTF-8''k%C3%A4tzchen.jpg", "/x", "kätzchen.jpg"),
        ('attachment; filename="../../etc/passwd"', "/x", "passwd"),
        ('attachment; filename="..\\\\..\\\\a.exe"', "/x", "a.exe"),
        ('attachment; filename=".."', "/x.png", "x.png"),
        ('attachment; filename=".bashrc"', "/x", "bashrc"),
        ('attachment; filename="\u202egpj.exe"', "/x", "gpj.exe"),
        ('attachment; filename="kätzchen.jpg"', "/x", "kätzchen.jpg"),
        ('attachment; filename="a\udcff.jpg"', "/x", "a.jpg"),
        ("", "/a/b%20c.pdf?x=/y", "b c.pdf"),
        ("", "/a/%2e%2e%2fz.txt", "z.txt"),
        ("", "/", "file"),
        ("", "/a/", "file"),
        ("", "/" + "a" * 400 + ".jpg", "a" * 251 + ".jpg"),
        ("attachment", "/x.gif", "x.gif"),
        ('attachment; filename="unclosed', "/x", "unclosed"),
    ],
)
def test_a_name_is_only_a_name(disposition: str, path: str, name: str) -> None:
    assert file_name({"Content-Disposition": disposition}, path) == name


@given(st.text(), st.text())
def test_any_header_gives_a_usable_name(disposition: str, path: str) -> None:
    name = file_name({"Content-Disposition": disposition}, "/" + path)
    assert name and "/" not in name and "\0" not in name and len(name.encode()) <= 255 and name not in (".", "..")


def test_a_type_is_bare_and_guessed_from_the_name_when_there_is_none() -> None:
    assert media_type({"Content-Type": "Text/HTML; charset=utf-8"}, "a") == "text/html"
    assert media_type({"Content-Type": "nonsense"}, "a.png") == "image/png"
    assert media_type({}, "a") == "application/octet-stream"


def test_only_what_proves_sameness_is_a_validator() -> None:
    assert validator({"ETag": '"a"'}) == '"a"'
    assert validator({"ETag": 'W/"a"'}) is None
    assert validator({"ETag": "a"}) is None
    older = {"Last-Modified": "Sat, 21 Nov 2026 08:00:00 GMT", "Date": NOW}
    assert validator(older) == "Sat, 21 Nov 2026 08:00:00 GMT"
    assert validator({**older, "ETag": 'W/"a"'}) is None
    assert validator({"Last-Modified": NOW, "Date": NOW}) is None
    assert validator({"Last-Modified": NOW}) is None
    assert validator({}) is None


def test_a_part_says_where_it_begins() -> None:
    assert range_start({"Content-Range": "bytes 5-9/10"}) == (5, 10)
    assert range_start({"Content-Range": "bytes 5-9/*"}) == (5, None)
    for wrong in ("", "bytes */10", "items 1-2/3", "bytes 5-9", "bytes -9/10"):
        assert range_start({"Content-Range": wrong}) is None
