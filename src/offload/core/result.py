"""Writes what a job returned as JSON, or says which part of it cannot be written."""

import math
from collections.abc import Mapping, Sequence, Set, ValuesView
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError

from offload.core import strict_json
from offload.core.files import File

_ANY: TypeAdapter[Any] = TypeAdapter(Any)
_HALF = "a string with half of a surrogate pair, which is not a character"


def dump(adapter: TypeAdapter[Any] | None, value: object) -> bytes:
    """Return the JSON of a value, by its declared type where that fits; raise ValueError with place and reason."""
    if value is None:
        return b"null"
    try:
        plain = _plain(adapter or _ANY, value)
    except Exception as error:  # the user's own serializers may raise anything
        raise ValueError(f"the result cannot be written as JSON: {_explain(value, error)}") from error
    try:
        written = strict_json.dumps(plain)
        if b"null" in written:  # pydantic writes some NaNs as null, and a lost number must not look like a None
            _refuse_not_finite(_ANY.dump_python(value, by_alias=True, warnings="none"), "")
    except ValueError as error:
        raise ValueError(f"the result cannot be written as JSON: {error}") from None
    return written


def _plain(adapter: TypeAdapter[Any], value: object) -> Any:
    return adapter.dump_python(value, mode="json", by_alias=True, warnings="none", fallback=_known)


def _known(value: Any) -> Any:
    """Turn what pydantic does not know into what it does."""
    if isinstance(value, File):
        raise ValueError("a File inside JSON: a result is either one File or JSON without files")
    if isinstance(value, msgspec.Struct):
        return dict(_parts(value))
    if _is_numpy(value):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, Set, ValuesView)):
        return list(value)
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise ValueError(f"{name}, which JSON cannot hold; return offload.File for a file, or plain values")


def _refuse_not_finite(value: Any, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place or 'the value'} is {float(value)}, which JSON cannot hold; use None")
    for key, child in _parts(value.tolist() if _is_numpy(value) else value):
        _refuse_not_finite(child, f"{place}.{key}" if place else str(key))


def _explain(value: object, error: Exception) -> str:
    place, culprit = _first_bad(value, "", ())
    message = str(error)
    if isinstance(error, PydanticSerializationError):
        message = message.removeprefix("Error calling function `_known`: ").removeprefix("ValueError: ")
    if isinstance(culprit, (bytes, bytearray)):
        message = 'bytes that are not text; return offload.File(data, name="…")'
    elif "surrogates" in message:
        message = _HALF
    elif isinstance(error, RecursionError) or "depth exceeded" in message:
        return "it is nested too deep"
    elif "Circular" in message:
        message = "a value that holds itself"
    return f"{place or 'the value'} is {message}"


def _first_bad(value: object, place: str, above: tuple[int, ...]) -> tuple[str, object]:
    """Follow the first part that cannot be written down to where it is."""
    for key, child in _parts(value) if id(value) not in above and len(above) < 20 else ():
        try:
            _plain(_ANY, child)
        except Exception:  # as above
            return _first_bad(child, f"{place}.{key}" if place else str(key), (*above, id(value)))
    return place, value


def _parts(value: object) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(enumerate(value))
    if isinstance(value, msgspec.Struct):
        return [(name, getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, BaseModel):
        return [*value.__dict__.items(), *(value.__pydantic_extra__ or {}).items()]
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in fields(value)]
    return []


def _is_numpy(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist")
