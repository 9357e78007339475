"""Writes what a job returned as JSON, or says which part of it cannot be written."""

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from offload.core import strict_json
from offload.core.files import File

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def dump(adapter: TypeAdapter[Any] | None, value: object) -> bytes:
    """Return the JSON of a value, by its declared type where that fits; raise ValueError with place and reason."""
    if value is None:
        return b"null"
    try:
        plain = _plain(adapter or _ANY, value)
    except Exception as error:  # the user's own serializers may raise anything
        raise ValueError(f"the result cannot be written as JSON: {_explain(value, error)}") from error
    try:
        return strict_json.dumps(plain)
    except ValueError as error:
        raise ValueError(f"the result cannot be written as JSON: {error}") from None


def _plain(adapter: TypeAdapter[Any], value: object) -> Any:
    return adapter.dump_python(value, mode="json", by_alias=True, warnings="none", fallback=_unknown)


def _unknown(value: Any) -> Any:
    """Turn what pydantic does not know into what it does."""
    if isinstance(value, File):
        raise ValueError("a File inside JSON: a result is either one File or JSON without files")
    if isinstance(value, msgspec.Struct):
        return {field: getattr(value, field) for field in value.__struct_fields__}
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise ValueError(f"{name}, which JSON cannot hold; return offload.File for a file, or plain values")


def _explain(value: object, error: Exception) -> str:
    place, culprit = _first_bad(value, "", 0)
    message = str(error)
    if isinstance(error, PydanticSerializationError):
        message = message.removeprefix("Error calling function `_unknown`: ").removeprefix("ValueError: ")
    if isinstance(culprit, (bytes, bytearray)):
        message = 'bytes that are not text; return offload.File(data, name="…")'
    elif "Circular" in message:
        message = "a value that holds itself"
    elif "depth" in message or isinstance(error, RecursionError):
        message = "nested too deep"
    return f"{place or 'the value'} is {message}"


def _first_bad(value: object, place: str, depth: int) -> tuple[str, object]:
    """Follow the first part that cannot be written down to where it is."""
    for key, child in _parts(value) if depth < 20 else ():
        try:
            _plain(_ANY, child)
        except Exception:  # as above
            return _first_bad(child, f"{place}.{key}" if place else str(key), depth + 1)
    return place, value


def _parts(value: object) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if isinstance(value, msgspec.Struct):
        return [(field, getattr(value, field)) for field in value.__struct_fields__]
    return list(getattr(value, "__dict__", {}).items())
