"""Inputs are described to clients, checked at the door and bound in the worker."""

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, field_validator

from offload.core import strict_json
from offload.core.catalog import Catalog
from offload.core.errors import WrongInput
from offload.core.files import File
from offload.core.job import job
from offload.core.json_schema import placed
from offload.core.schema import ERRORS_MAX, Schema


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Node(BaseModel):
    name: str
    children: list["Node"] = []


@dataclasses.dataclass
class Box:
    width: int
    height: Annotated[int, Field(gt=0)] = 1


class Row(typing_extensions.TypedDict):
    a: int
    b: typing_extensions.NotRequired[str]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(alias="livesLeft")


class Dog(BaseModel):
    kind: Literal["dog"]


class Careful(BaseModel):
    image: File
    note: str = ""

    @field_validator("note")
    @classmethod
    def _not_too_rude(cls, note: str) -> str:
        if note == "rude":
            raise ValueError("be kind")
        if note == "broken":
            raise KeyError("oops")
        return note


def add(a: int, b: float = 2.0) -> float:
    return a + b


def resize(image: File, width: int) -> File:
    return image


def everything(  # type: ignore[no-untyped-def]
    json: int,
    copy: str,
    schema: Color,
    *,
    node: Node,
    box: Box,
    row: Row,
    when: datetime.datetime,
    key: uuid.UUID,
    price: decimal.Decimal,
    letter: Literal["a", "b"],
    pet: Annotated[Cat | Dog, Field(discriminator="kind")],
    anything,
    maybe: int | None = None,
    pair: tuple[int, str] = (1, "a"),
    positive: Annotated[int, Field(gt=0, description="How many.")] = 3,
    few: int = Field(4, le=9),
    fresh: list[int] = Field(default_factory=lambda: [7]),  # noqa: B008
    boxes: dict[int, Box] = {},  # noqa: B006
    model_config: str = "",
    _hidden: set[int] = set(),  # noqa: B006
    color: Color = Color.RED,
    best: Box = Box(1, 2),  # noqa: B008
) -> None: ...


WHOLE: dict[str, Any] = {
    "json": 1,
    "copy": "x",
    "schema": "red",
    "node": {"name": "a", "children": [{"name": "b"}]},
    "box": {"width": 1},
    "row": {"a": 1},
    "when": "2020-01-01T00:00:00Z",
    "key": "09d4cf3f-88db-4f2a-9186-098929e82e0b",
    "price": "1.50",
    "letter": "a",
    "pet": {"kind": "cat", "livesLeft": 9},
    "anything": [None, {"deep": 1.5}],
}


def schema_of(function: Any) -> Schema:
    return Catalog.of_jobs(job(function)).find(function.__name__).schema


ADD, RESIZE, EVERYTHING = schema_of(add), schema_of(resize), schema_of(everything)


def mistakes(schema: Schema, values: Any) -> list[tuple[str, str]]:
    body = values if isinstance(values, bytes) else json.dumps(values).encode()
    with pytest.raises(WrongInput) as found:
        schema.check_json("it", body)
    return [(".".join(map(str, error["loc"])), error["message"]) for error in found.value.errors]


def round_trip(schema: Schema, values: Any) -> dict[str, Any]:
    return schema.bind(schema.check_json("it", json.dumps(values).encode()).input, {})


def test_the_input_schema_is_a_closed_object_with_defaults() -> None:
    assert ADD.input == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "number", "default": 2.0}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert ADD.result == {"type": "number"}
    assert schema_of(nothing).input == {"type": "object", "properties": {}, "additionalProperties": False}


def nothing() -> None: ...


def test_every_type_and_every_name_is_described_in_valid_json_schema() -> None:
    jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **EVERYTHING.input})
    properties = EVERYTHING.input["properties"]
    assert list(properties)[:3] == ["json", "copy", "schema"] and "_hidden" in properties
    assert properties["anything"] == {}
    assert properties["positive"] == {
        "type": "integer",
        "exclusiveMinimum": 0,
        "description": "How many.",
        "default": 3,
    }
    assert properties["few"] == {"type": "integer", "maximum": 9, "default": 4}
    assert (properties["color"]["default"], properties["maybe"]["default"]) == ("red", None)
    assert (properties["best"]["default"], properties["pair"]["default"]) == ({"width": 1, "height": 2}, [1, "a"])
    assert properties["fresh"]["default"] == [7]
    assert set(EVERYTHING.input["required"]) == set(WHOLE)
    jsonschema_rs.validator_for(EVERYTHING.input).validate(WHOLE)


def test_a_schema_is_complete_in_itself_and_only_recursion_needs_a_reference() -> None:
    properties = EVERYTHING.input["properties"]
    assert properties["box"]["properties"]["width"] == {"type": "integer"}
    assert "discriminator" not in properties["pet"] and len(properties["pet"]["oneOf"]) == 2
    assert properties["node"] == {"$ref": "#/$defs/Node"} and list(EVERYTHING.input["$defs"]) == ["Node"]


def test_a_schema_with_recursion_can_be_placed_in_a_larger_document() -> None:
    there = placed(EVERYTHING.input, "#/components/schemas/it")
    whole = {"components": {"schemas": {"it": there}}, "$ref": "#/components/schemas/it"}
    check = jsonschema_rs.validator_for(whole)
    assert check.is_valid(WHOLE)
    assert not check.is_valid({**WHOLE, "node": {"name": "a", "children": [{"name": 1}]}})


def test_a_field_that_is_called_like_a_keyword_stays() -> None:
    class Odd(BaseModel):
        ref: int = Field(alias="$ref")
        discriminator: str = ""

    def odd(it: Odd) -> None: ...

    assert set(schema_of(odd).input["properties"]["it"]["properties"]) == {"$ref", "discriminator"}


def test_a_valid_body_without_files_is_kept_as_it_was_sent() -> None:
    body = b'{"b": 1e0,\n "a": "3"}'
    assert ADD.check_json("add", body).input is body
    assert ADD.bind(body, {}) == {"a": 3, "b": 1.0}


def test_every_type_arrives_in_the_job_as_declared() -> None:
    found = round_trip(EVERYTHING, {**WHOLE, "boxes": {"3": {"width": 2}}, "_hidden": [1, 1], "model_config": "m"})
    assert found["schema"] is Color.RED and found["node"] == Node(name="a", children=[Node(name="b")])
    assert found["box"] == Box(1, 1) and found["row"] == {"a": 1} and found["boxes"] == {3: Box(2, 1)}
    assert found["when"] == datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert found["key"] == uuid.UUID(WHOLE["key"]) and found["price"] == decimal.Decimal("1.50")
    assert found["pet"].lives == 9 and found["_hidden"] == {1} and found["anything"] == [None, {"deep": 1.5}]


def test_a_missing_parameter_is_left_to_the_functions_own_default_unless_a_field_holds_it() -> None:
    assert round_trip(ADD, {"a": 1}) == {"a": 1}
    found = round_trip(EVERYTHING, WHOLE)
    assert found["few"] == 4 and found["fresh"] == [7] and "best" not in found
    assert found["fresh"] is not round_trip(EVERYTHING, WHOLE)["fresh"]


def test_every_mistake_is_told_with_its_place_and_reason() -> None:
    wrong = {
        **WHOLE,
        "pet": {"kind": "cow"},
        "box": {"width": "q", "height": 0},
        "node": {"name": "a", "children": [{}]},
        "boxes": {"x": {"width": 1}},
        "maybe": "many",
        "coppy": 1,
    }
    del wrong["letter"]
    found = mistakes(EVERYTHING, wrong)
    assert [place for place, _ in found] == [
        "node.children.0.name", "box.width", "box.height", "letter", "pet", "maybe", "boxes.x", "coppy",
    ]  # fmt: skip
    told = dict(found)
    assert told["letter"] == "Field required" and told["box.height"] == "Input should be greater than 0"
    assert told["coppy"] == "there is no such parameter; did you mean 'copy'?"


def test_branches_of_a_union_are_not_part_of_the_place() -> None:
    def either(value: int | list[int]) -> None: ...

    assert {place for place, _ in mistakes(schema_of(either), {"value": ["x"]})} == {"value", "value.0"}


def test_a_file_type_of_string_is_checked_with_the_others() -> None:
    assert [place for place, _ in mistakes(RESIZE, {"image": "cat.jpg", "width": "wide", "colour": 1})] == [
        "image", "width", "colour",
    ]  # fmt: skip


def test_a_long_list_of_mistakes_is_cut() -> None:
    def total(numbers: list[int]) -> None: ...

    found = mistakes(schema_of(total), {"numbers": ["x"] * 5000})
    assert len(found) == ERRORS_MAX + 1 and "more" in found[-1][1]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is empty"),
        (b"  ", "the body is empty"),
        (b"[]", "a JSON object with the parameters by name"),
        (b'"a"', "a JSON object"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": 1} x', "trailing characters"),
        (b'{"a": NaN}', "not valid JSON"),
        (b'{"a": Infinity}', "not valid JSON"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "out of range"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "not valid JSON"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"a": 1, "a": 2}', "the key 'a' is given twice"),
        (b'{"a": 1, "\\u0061": 2}', "the key 'a' is given twice"),
        (b'{"a": {"x:y": 1, "x:y": 2}}', "the key 'x:y' is given twice"),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "deeper than 64"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deeper than 64"),
    ],
)
def test_json_with_any_doubt_in_it_is_refused(body: bytes, says: str) -> None:
    [(place, message)] = mistakes(ADD, body)
    assert place == "" and says in message


def test_json_at_the_limits_is_taken() -> None:
    def anything(a: Any) -> None: ...

    schema = schema_of(anything)
    for body in (
        b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"a": [' + b"{}," * 500 + b"{}]}",
        b'{"a": {"x": ":", "y": "\\u003a{[::", "z::": ["a:b"]}}',
        b'{"a": 123456789012345678901234567890}',
    ):
        assert schema.check_json("it", body).input == body


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_whatever_json_holds_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    body = json.dumps(value).encode()
    assert strict_json.loads(body) == json.loads(body)
    assert json.loads(strict_json.dumps(value)) == value


def test_a_validator_of_the_user_speaks_in_its_own_words() -> None:
    def judge(it: Careful) -> None: ...

    schema = schema_of(judge)
    assert mistakes(schema, {"it": {"image": "data:,x", "note": "rude"}}) == [("it.note", "be kind")]
    [(place, message)] = mistakes(schema, {"it": {"image": "data:,x", "note": "broken"}})
    assert place == "" and "KeyError" in message


def test_a_stored_input_that_no_longer_fits_the_job_is_wrong_input() -> None:
    with pytest.raises(WrongInput, match="wrong input for job 'add': a: Field required"):
        ADD.bind(b"{}", {})
