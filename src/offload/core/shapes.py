"""Which types can travel as JSON or as a file, and what to use instead of those that cannot."""

import re
import types
from pathlib import PurePath
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import JsonSchemaMode

from offload.core.files import File
from offload.core.json_schema import holds_file, json_schema

_OPEN_FILES = frozenset({"IO", "BinaryIO", "TextIO", "BufferedReader", "BufferedIOBase", "RawIOBase", "UploadFile"})
_CONTEXT = ("offload.workers.context", "Context")


def plain(annotation: Any) -> tuple[Any, ...]:
    """Return the types behind Annotated, aliases and unions, None left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return plain(get_args(annotation)[0])
    if type(annotation).__name__ == "TypeAliasType":  # `type X = …`, Python 3.12
        return plain(annotation.__value__)
    if origin is Union or origin is types.UnionType:
        return tuple(found for branch in get_args(annotation) for found in plain(branch))
    return () if annotation is None or annotation is type(None) else (annotation,)


def is_context(annotation: Any) -> bool:
    """Tell whether a parameter asks for the Context, known here by name only: it lives in a higher layer."""
    classes = [found for found in plain(annotation) if isinstance(found, type)]
    return any((base.__module__, base.__qualname__) == _CONTEXT for found in classes for base in found.__mro__)


def is_file(annotation: Any) -> bool:
    """Tell whether a result of this type is a file rather than JSON."""
    return isinstance(annotation, type) and issubclass(annotation, (File, PurePath))


def written_by_value(annotation: Any) -> bool:
    """Tell whether pydantic does not know the type but its values can be written: msgspec's and numpy's."""
    if not isinstance(annotation, type):
        return False
    numpy_scalar = any((base.__module__, base.__name__) == ("numpy", "generic") for base in annotation.__mro__)
    return numpy_scalar or issubclass(annotation, msgspec.Struct)


def type_name(annotation: Any) -> str:
    """Return a type as a user would write it."""
    if isinstance(annotation, type) and not get_args(annotation):
        return f"{annotation.__module__}.{annotation.__qualname__}".removeprefix("builtins.")
    return repr(annotation).replace("typing.", "").replace("NoneType", "None")


def unreadable(annotation: Any) -> str | None:
    """Say why a parameter of this type cannot be read from JSON, and what would work."""
    for found in plain(annotation):
        if isinstance(found, type) and issubclass(found, PurePath):
            why = "but a client cannot name a file of the server; use offload.File, which is a path too"
            return f"has type {type_name(found)}, {why}"
    problem = _no_schema(annotation, "validation")
    return problem and f"has type {type_name(annotation)}, {problem}"


def unwritable(annotation: Any, *, is_generator: bool) -> str | None:
    """Say why a result of this type cannot be sent, and what would work."""
    classes = [found for found in plain(annotation) if isinstance(found, type)]
    if any(is_file(found) for found in classes):
        why = "but what a generator yields is JSON; yield something else, or return one File instead"
        return why if is_generator else None
    if any(issubclass(found, (bytes, bytearray, memoryview)) for found in classes):
        return 'which JSON cannot hold; return offload.File(data, name="…")'
    if any(written_by_value(found) for found in classes):
        return None
    problem = _no_schema(annotation, "serialization")
    if problem is None and holds_file(TypeAdapter(annotation).core_schema):
        return "but a result is either one File or JSON without files; return one File, such as a zip of several"
    return problem


def _no_schema(annotation: Any, mode: JsonSchemaMode) -> str | None:
    """Say why pydantic cannot handle the type, or None when it can."""
    verb, instead = ("read from", "use") if mode == "validation" else ("written as", "return")
    try:
        json_schema(TypeAdapter(annotation), mode)
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema) as error:
        match = re.search(r"<class '([^']+)'>", str(error))
        culprit = match[1] if match else type_name(annotation)
        which = "which" if culprit == type_name(annotation) else f"and {culprit} in it"
        return f"{which} cannot be {verb} JSON; {instead} {_instead_of(annotation, culprit)}"
    except PydanticUserError as error:
        return f"which cannot be {verb} JSON: {error.message}"
    except Exception as error:  # a type brings its own code into its schema, and that may raise anything
        return f"which cannot be {verb} JSON: {type(error).__name__}: {error}"
    return None


def _instead_of(annotation: Any, culprit: str) -> str:
    for found in plain(annotation):
        if isinstance(found, type) and issubclass(found, msgspec.Struct):
            return "a pydantic model or a dataclass with the same fields"
    if culprit.rpartition(".")[2].partition("[")[0] in _OPEN_FILES:
        return "offload.File, and its .open()"
    if culprit.endswith("ndarray"):
        return "list[float], or offload.File for an array in a file"
    return "offload.File for a file, or a type that pydantic can check"
