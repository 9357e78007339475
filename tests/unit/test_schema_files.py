"""Files and form fields are found in an input, and the files come back to where they were."""

import dataclasses
import enum
import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, Field, field_validator

from offload.core.catalog import Catalog
from offload.core.errors import WrongInput
from offload.core.files import File
from offload.core.job import job
from offload.core.schema import FileSource, Schema, Uploaded
from offload.core.sources import parse_data_url


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Box:
    width: int
    height: Annotated[int, Field(gt=0)] = 1


class Tree(BaseModel):
    image: File | None = None
    children: list["Tree"] = []


class Album(BaseModel):
    title: str
    cover: File | None = None
    pages: list[File] = []


def add(a: int, b: float = 2.0) -> float:
    return a + b


def resize(image: File, width: int, mode: str | None = None) -> File:
    return image


def schema_of(function: Any) -> Schema:
    return Catalog.of_jobs(job(function)).find(function.__name__).schema


ADD, RESIZE = schema_of(add), schema_of(resize)


def mistakes(schema: Schema, values: Any) -> list[tuple[str, str]]:
    body = values if isinstance(values, bytes) else json.dumps(values).encode()
    with pytest.raises(WrongInput) as found:
        schema.check_json("it", body)
    return [(".".join(map(str, error["loc"])), error["message"]) for error in found.value.errors]


def test_files_are_found_wherever_they_are_in_the_parameters() -> None:
    def nested(album: Album, extra: dict[str, File] = {}, logo: File | None = None, n: int = 1) -> None: ...  # noqa: B006

    assert schema_of(nested).file_fields == ("album", "extra", "logo") and schema_of(nested).single_file is None
    assert RESIZE.file_fields == ("image",) and RESIZE.single_file == "image" and RESIZE.returns_file
    assert ADD.file_fields == () and ADD.single_file is None and not ADD.returns_file

    def climb(tree: Tree, again: Tree | None = None, n: int = 1) -> None: ...

    assert schema_of(climb).file_fields == ("tree", "again") and "$defs" in schema_of(climb).input

    def logo_only(logo: Annotated[File | None, Field(description="d")] = None, n: int = 1) -> None: ...
    def many(images: list[File]) -> None: ...

    assert schema_of(logo_only).single_file == "logo" and schema_of(many).single_file is None


def test_a_file_is_described_as_a_string_and_how_to_give_it() -> None:
    image = RESIZE.input["properties"]["image"]
    assert (image["type"], image["format"]) == ("string", "binary")
    assert "data:" in image["description"] and "file:{id}" in image["description"]


def test_files_leave_null_at_their_place_and_come_back_there() -> None:
    def nested(album: Album, extra: dict[str, File] = {}, link: AnyUrl | None = None) -> None: ...  # noqa: B006

    schema = schema_of(nested)
    values = {
        "album": {
            "title": "http://not-a-file",
            "cover": "https://a.example/b.png",
            "pages": ["file:12-ab", "data:,hi"],
        },
        "extra": {"a.b": "HTTP://q.example"},
        "link": "https://only.a.link",
    }
    checked = schema.check_json("nested", json.dumps(values).encode())
    assert checked.sources == (
        FileSource(field="album.cover", kind="url", value="https://a.example/b.png"),
        FileSource(field="album.pages.0", kind="file", value="12-ab"),
        FileSource(field="album.pages.1", kind="data", value="data:,hi", type="text/plain"),
        FileSource(field="extra.a.b", kind="url", value="HTTP://q.example"),
    )
    assert json.loads(checked.input) == {
        "album": {"title": "http://not-a-file", "cover": None, "pages": [None, None]},
        "extra": {"a.b": None},
        "link": "https://only.a.link",
    }
    files = {source.field: File(source.field.encode()) for source in checked.sources}
    found = schema.bind(checked.input, files)
    assert found["album"].cover is files["album.cover"] and found["album"].pages[1] is files["album.pages.1"]
    assert found["extra"]["a.b"] is files["extra.a.b"] and found["album"].title == "http://not-a-file"


def test_uploads_stand_for_files_in_values() -> None:
    def nested(album: Album, images: list[File] = []) -> None: ...  # noqa: B006

    schema = schema_of(nested)
    checked = schema.check_values("it", {"album": {"title": "t", "pages": [Uploaded(1)]}, "images": Uploaded(0)})
    assert [(s.field, s.kind, s.value) for s in checked.sources] == [
        ("album.pages.0", "upload", "1"), ("images.0", "upload", "0"),
    ]  # fmt: skip
    assert json.loads(checked.input) == {"album": {"title": "t", "pages": [None]}, "images": [None]}


@pytest.mark.parametrize("schema", [ADD, RESIZE])
def test_an_upload_where_no_file_belongs_is_refused(schema: Schema) -> None:
    def anything(image: File, a: Any) -> None: ...

    for it, values in ((ADD, {"a": Uploaded(0)}), (schema_of(anything), {"image": Uploaded(0), "a": [Uploaded(1)]})):
        with pytest.raises(WrongInput, match="takes no file"):
            it.check_values("it", values)
    with pytest.raises(WrongInput):
        RESIZE.check_values("it", {"image": [Uploaded(0), Uploaded(1)], "width": 1})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cat.jpg", "not a file: upload one"),
        ("", "not a file"),
        ("ftp://a/b", "not a file"),
        ("file:///etc/passwd", "not a stored file"),
        ("file:", "not a stored file"),
        ("https://", "not a usable URL"),
        ("http:a", "not a usable URL"),
        ("https://a b", "not a usable URL"),
        ("https://a/\nb", "not a usable URL"),
        ("https://[::1", "Invalid IPv6 URL"),
        ("https://a/" + "b" * 9000, "not a usable URL"),
        ("data:hello", "no comma"),
        ("data:image/png;base64,a", "not base64"),
        ("data:image/png;base64,aGk=!", "not base64"),
        ("data:no type,x", "media type"),
        (3, "not a file"),
        (None, "not a file"),
        ({}, "not a file"),
    ],
)
def test_what_is_no_file_is_refused_before_anything_is_stored(text: Any, says: str) -> None:
    [(place, message)] = mistakes(RESIZE, {"image": text, "width": 1})
    assert place == "image" and says in message


def test_data_urls_are_read_as_their_standard_says() -> None:
    assert parse_data_url("data:,a%20b") == (b"a b", "text/plain", "")
    assert parse_data_url("data:image/png;base64,aGk=") == (b"hi", "image/png", "")
    assert parse_data_url("data:text/csv;charset=utf-8;name=a%20b.csv;BASE64,aGk%3D") == (b"hi", "text/csv", "a b.csv")


def test_a_file_cannot_be_looked_into_while_it_is_checked() -> None:
    class Curious(BaseModel):
        image: File

        @field_validator("image")
        @classmethod
        def _is_small(cls, image: File) -> File:
            assert image.size < 10
            return image

    def look(it: Curious) -> None: ...

    [(_, message)] = mistakes(schema_of(look), {"it": {"image": "data:,x"}})
    assert "no content yet" in message


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 3), max_size=4), st.integers(0, 4))
def test_files_come_back_to_where_they_were(named: dict[str, int], pages: int) -> None:
    def gather(named: dict[str, list[File]], pages: list[File]) -> None: ...

    values = {"named": {k: [Uploaded(0)] * n for k, n in named.items()}, "pages": [Uploaded(0)] * pages}
    schema = schema_of(gather)
    checked = schema.check_values("it", values)
    files = {source.field: File(source.field.encode()) for source in checked.sources}
    found = schema.bind(checked.input, files)
    assert [f.read_text() for f in found["pages"]] == [f"pages.{i}" for i in range(pages)]
    assert {k: [f.read_text() for f in v] for k, v in found["named"].items()} == {
        k: [f"named.{k}.{i}" for i in range(n)] for k, n in named.items()
    }


def test_text_fields_become_what_the_parameters_want() -> None:
    def form(
        *,
        n: int,
        names: list[str],
        box: Box,
        sizes: list[int] = [],  # noqa: B006
        flag: bool = False,
        note: str = "",
        maybe: int | None = None,
        free: Any = None,
        color: Color = Color.RED,
    ) -> None: ...

    schema = schema_of(form)
    values = schema.from_text(
        [
            ("n", "3"), ("names", "a"), ("names", "[b"), ("box", '{"width": 2}'), ("sizes", "[1, 2]"), ("flag", "true"),
            ("note", "[1]"), ("maybe", ""), ("free", '{"x": 1}'), ("color", "blue"),
        ]
    )  # fmt: skip
    assert values["names"] == ["a", "[b"] and values["sizes"] == [1, 2] and values["note"] == "[1]"
    found = schema.bind(schema.check_values("form", values).input, {})
    assert found["n"] == 3 and found["flag"] is True and found["box"] == Box(2, 1) and found["maybe"] is None
    assert found["free"] == {"x": 1} and found["color"] is Color.BLUE
    assert schema.from_text([("names", "one")]) == {"names": ["one"]}


def test_text_fields_that_do_not_fit_are_told_like_any_other() -> None:
    with pytest.raises(WrongInput) as found:
        ADD.check_values("add", ADD.from_text([("a", "1"), ("a", "2"), ("c", "x"), ("b", "{")]))
    assert [error["loc"] for error in found.value.errors] == [["a"], ["b"], ["c"]]


def test_values_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(WrongInput, match="nan"):
        ADD.check_values("add", {"a": 1, "b": float("nan")})
    with pytest.raises(WrongInput, match="surrogate"):
        RESIZE.check_values("it", {"image": Uploaded(0), "width": 1, "mode": "\ud800"})
