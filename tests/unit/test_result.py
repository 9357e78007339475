"""What a job returned is written as JSON exactly, or an error says which part cannot be."""

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import jsonschema_rs
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from offload.core import strict_json
from offload.core.catalog import Catalog
from offload.core.files import File
from offload.core.job import job
from offload.core.schema import Schema


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Box:
    width: int
    height: Annotated[int, Field(gt=0)] = 1


class Struct(msgspec.Struct):
    a: Any


class Report(BaseModel):
    score: float = Field(alias="theScore")
    extra: Any = None
    day: datetime.date = datetime.date(2020, 1, 1)


def schema_of(function: Any) -> Schema:
    return Catalog.of_jobs(job(function)).find(function.__name__).schema


def returning(annotation: Any) -> Schema:
    def it() -> None: ...

    it.__annotations__["return"] = annotation
    return schema_of(it)


def untyped():  # type: ignore[no-untyped-def]
    ...


FREE = schema_of(untyped)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        ("é😀", "é😀"),
        ({"a": (1, 2.5, True)}, {"a": [1, 2.5, True]}),
        (Report(theScore=1), {"theScore": 1.0, "extra": None, "day": "2020-01-01"}),
        ([Box(1, 2)], [{"width": 1, "height": 2}]),
        ({"when": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)}, {"when": "2020-01-01T00:00:00Z"}),
        ([uuid.UUID(int=1), decimal.Decimal("1.10"), Color.RED], [str(uuid.UUID(int=1)), "1.10", "red"]),
        (Struct(a=[np.int64(3), Struct(a=datetime.date(2020, 1, 1))]), {"a": [3, {"a": "2020-01-01"}]}),
        ({"n": np.float32(1.5), "b": np.bool_(True), "a": np.array([[1, 2]])}, {"n": 1.5, "b": True, "a": [[1, 2]]}),
        (np.int64(3), 3),
        (range(3), [0, 1, 2]),
        ({1: 2, None: 3}, {"1": 2, "None": 3}),
        ({"a": 1}.values(), [1]),
    ],
)
def test_results_of_every_kind_are_written(value: Any, written: Any) -> None:
    assert json.loads(FREE.dump_result(value)) == written


def cycle() -> list[Any]:
    value: list[Any] = [1]
    value.append({"again": value})
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "the value is nan, which JSON cannot hold"),
        ({"scores": [1.0, float("inf")]}, "scores.1 is inf"),
        (Report(theScore=float("nan")), "theScore is nan"),
        (Report(theScore=1, extra={"x": float("nan")}), "extra.x is nan"),
        ([Struct(a=float("-inf"))], "0.a is -inf"),
        (np.array([1.0, np.nan]), "1 is nan"),
        (np.float64("nan"), "nan"),
        (cycle(), "holds itself"),
        (deep(5000), "nested too deep"),
        ("\ud800", "half of a surrogate pair"),
        ({"a": ["\ud800"]}, "a.0 is a string with half of a surrogate pair"),
        ({"\ud800": 1}, "half of a surrogate pair"),
        (b"\xff", "bytes that are not text; return offload.File"),
        ({"f": [b"\xff\x00"]}, "f.0 is bytes that are not text"),
        ({"f": File(b"x")}, "f is a File inside JSON"),
        ([1, object()], "1 is object, which JSON cannot hold"),
        (Box(1, object()), "height is object"),  # type: ignore[arg-type]
        ({"x": {object(): 1}}, "x is object"),
        (untyped, "the value is function"),
        pytest.param(10**5000, "limit", id="digits"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value: Any, says: str) -> None:
    with pytest.raises(ValueError, match="^the result cannot be written as JSON: ") as found:
        FREE.dump_result(value)
    assert says in str(found.value)


def test_a_result_is_written_by_its_declared_type() -> None:
    report = returning(Report)
    assert json.loads(report.dump_result(Report(theScore=1)))["theScore"] == 1.0
    assert report.result is not None and list(report.result["properties"]) == ["theScore", "extra", "day"]
    assert report.dump_result({"other": np.int64(1)}) == b'{"other":1}'  # not as declared: as it is
    assert returning(list[int]).dump_result([np.int64(3), 4]) == b"[3,4]"
    jsonschema_rs.validator_for(report.result).validate(json.loads(report.dump_result(Report(theScore=1))))


def test_the_result_schema_says_what_comes() -> None:
    assert returning(type(None)).result == {"type": "null"} and FREE.result is None
    assert returning(File).result == {"type": "string", "format": "binary"}
    assert returning(File | None).returns_file and not returning(dict[str, int]).returns_file
    assert returning(Struct).result is None and returning(np.float64).result is None


def test_a_generator_gives_a_list() -> None:
    def boxes() -> Iterator[Box]:
        yield Box(1)

    async def days() -> AsyncIterator[datetime.date]:
        yield datetime.date(2020, 1, 1)

    def loose():  # type: ignore[no-untyped-def]
        yield 1

    schema = schema_of(boxes)
    assert schema.result is not None and schema.result["type"] == "array"
    assert schema.result["items"]["properties"]["width"] == {"type": "integer"}
    assert schema.dump_output(Box(1, 2)) == b'{"width":1,"height":2}'
    assert schema.dump_result([Box(1, 2)]) == b'[{"width":1,"height":2}]'
    assert schema_of(days).result == {"type": "array", "items": {"type": "string", "format": "date"}}
    assert schema_of(loose).result == {"type": "array"} and schema_of(loose).dump_result([1]) == b"[1]"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
        max_leaves=20,
    )
)
def test_a_result_is_written_exactly_or_refused(value: Any) -> None:
    try:
        written = FREE.dump_result(value)
    except ValueError:
        return
    assert strict_json.loads(written) == value
