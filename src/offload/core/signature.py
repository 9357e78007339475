"""Reads what a function wants and gives from its signature, and says what cannot work."""

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from offload.core.files import File
from offload.core.json_schema import holds_file, json_schema

UNKNOWN: Any = inspect.Parameter.empty
"""Stands for no annotation and for no default."""

_LISTED = frozenset({"Iterator", "Iterable", "Generator", "AsyncIterator", "AsyncIterable", "AsyncGenerator"})
_OPEN_FILES = frozenset({"IO", "BinaryIO", "TextIO", "BufferedReader", "BufferedIOBase", "RawIOBase", "UploadFile"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One input of a job."""

    name: str
    annotation: Any
    """With its constraints, as pydantic takes it."""
    default: Any = UNKNOWN
    info: FieldInfo | None = None
    """Set when a pydantic Field, not the function itself, knows the default."""

    @property
    def required(self) -> bool:
        return self.default is UNKNOWN and (self.info is None or self.info.is_required())


@dataclass(slots=True, kw_only=True)
class Signature:
    """What the function wants and gives; `problems` says what is wrong, each in half a sentence."""

    parameters: list[Parameter] = field(default_factory=list)
    returns: Any = UNKNOWN
    """What is returned, or for a generator what is yielded."""
    context: str | None = None
    problems: list[str] = field(default_factory=list)


def read_signature(function: Callable[..., Any], *, is_class: bool, is_generator: bool) -> Signature:
    """Read a function, or a class by its `__call__`."""
    target = function.__call__ if is_class else function  # type: ignore[operator]
    found = Signature()
    hints = _hints(target, found)
    parameters = list(inspect.signature(target).parameters.values())
    for parameter in parameters[1:] if is_class else parameters:
        annotation = hints.get(parameter.name, UNKNOWN)
        if _refused_kind(parameter, found):
            continue
        if is_context(annotation):
            if found.context is not None:
                found.problems.append(f"parameters {found.context!r} and {parameter.name!r} both ask for the Context; keep one")
            found.context = parameter.name
        else:
            _add(parameter, annotation, found)
    _read_return(hints.get("return", UNKNOWN), found, is_generator=is_generator)
    return found


def plain(annotation: Any) -> tuple[Any, ...]:
    """Return the types behind Annotated and unions, None left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return plain(get_args(annotation)[0])
    if isinstance(annotation, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        return plain(annotation.__value__)
    if origin is Union or origin is types.UnionType:
        return tuple(found for branch in get_args(annotation) for found in plain(branch))
    return () if annotation is type(None) else (annotation,)


def is_context(annotation: Any) -> bool:
    """Tell whether a parameter asks for the Context, which is known here by name only: it lives in a higher layer."""
    return any(
        isinstance(found, type)
        and any((c.__module__, c.__qualname__) == ("offload.workers.context", "Context") for c in found.__mro__)
        for found in plain(annotation)
    )


def type_name(annotation: Any) -> str:
    """Return a type as a user would write it."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__qualname__ if annotation.__module__ == "builtins" else f"{annotation.__module__}.{annotation.__qualname__}"
    return repr(annotation).replace("typing.", "")


def _hints(target: Any, found: Signature) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError as error:
        found.problems.append(
            f"an annotation names {error.name!r}, which is not known in the module when it runs; "
            "import it outside `if TYPE_CHECKING`, at the top of the module"
        )
    except Exception as error:  # evaluating an annotation runs the user's code
        found.problems.append(f"its annotations cannot be read: {type(error).__name__}: {error}")
    return {}


def _refused_kind(parameter: inspect.Parameter, found: Signature) -> bool:
    if parameter.kind is parameter.VAR_POSITIONAL:
        problem = f"*{parameter.name} has no names for a client to use; take a list parameter instead"
    elif parameter.kind is parameter.VAR_KEYWORD:
        problem = f"**{parameter.name} takes anything; name each parameter, or take one parameter of type dict"
    elif parameter.kind is parameter.POSITIONAL_ONLY:
        problem = f"parameter {parameter.name!r} is positional-only, but inputs are given by name; remove the / after it"
    else:
        return False
    found.problems.append(problem)
    return True


def _add(parameter: inspect.Parameter, annotation: Any, found: Signature) -> None:
    name, default, info = parameter.name, parameter.default, None
    if annotation is UNKNOWN:
        annotation = Any
    if isinstance(default, FieldInfo):
        annotation, info, default = Annotated[annotation, default], default, UNKNOWN
    for extra in annotation.__metadata__ if get_origin(annotation) is Annotated else ():
        if isinstance(extra, FieldInfo):
            if extra.alias or extra.validation_alias or extra.serialization_alias:
                found.problems.append(f"parameter {name!r} has an alias; a parameter is called by its own name: rename it")
            if default is UNKNOWN and not extra.is_required():
                info = extra
    problem = _unreadable(annotation)
    if problem:
        found.problems.append(f"parameter {name!r} {problem}")
    else:
        found.parameters.append(Parameter(name=name, annotation=annotation, default=default, info=info))


def _unreadable(annotation: Any) -> str | None:
    """Say why a parameter cannot be read from JSON."""
    for found in plain(annotation):
        if isinstance(found, type) and issubclass(found, PurePath):
            return f"has type {type_name(found)}, but a client cannot name a file of the server; use offload.File, which is a path too"
    problem = _no_schema(annotation, "validation")
    return problem and f"has type {type_name(annotation)}, {problem[0]} cannot be read from JSON; use {problem[1]}"


def _no_schema(annotation: Any, mode: typing.Literal["validation", "serialization"]) -> tuple[str, str] | None:
    """Return which type pydantic cannot handle and what to use instead, or None when it can."""
    try:
        json_schema(TypeAdapter(annotation), mode)
    except Exception as error:  # a type brings its own code into its schema, and that may raise anything
        culprit = str(error).partition("schema for ")[2].partition(">")[0].removeprefix("<class '").removesuffix("'")
        inside = culprit and "." in culprit and culprit != type_name(annotation) and not culprit.startswith("core_schema")
        which = f"and {culprit} in it" if inside else "which"
        if not isinstance(error, (TypeError, NameError, RuntimeError)) and type(error).__module__.partition(".")[0] != "pydantic":
            which = f"whose schema fails with {type(error).__name__}: {error}; it"
        if "typing_extensions" in str(error):
            which, instead = "which", "typing_extensions.TypedDict, which pydantic needs before Python 3.12"
            return which, instead
        return which, _instead_of(annotation, culprit)
    return None


def _instead_of(annotation: Any, culprit: str) -> str:
    for found in plain(annotation):
        if isinstance(found, type) and issubclass(found, msgspec.Struct):
            return "a pydantic model or a dataclass with the same fields"
        if type_name(found).rpartition(".")[2] in _OPEN_FILES:
            return "offload.File, and its .open()"
    if "ndarray" in culprit or "ndarray" in type_name(annotation):
        return "list[float], or offload.File for an array in a file"
    return "offload.File for a file, or a type that pydantic can check"


def _read_return(annotation: Any, found: Signature, *, is_generator: bool) -> None:
    if is_generator:
        origin = get_origin(annotation) or annotation
        arguments = get_args(annotation)
        annotation = arguments[0] if getattr(origin, "__name__", "") in _LISTED and arguments else UNKNOWN
    if annotation is UNKNOWN:
        return
    problem = _unwritable(annotation, is_generator=is_generator)
    if problem:
        found.problems.append(f"it {'yields' if is_generator else 'returns'} {type_name(annotation)}, {problem}")
    else:
        found.returns = annotation


def _unwritable(annotation: Any, *, is_generator: bool) -> str | None:
    branches = [found for found in plain(annotation) if isinstance(found, type)]
    one_file = any(is_file(found) for found in branches)
    if one_file and is_generator:
        return "but what a generator yields is JSON; return one File instead, or yield something else"
    if one_file:
        return None
    if any(issubclass(found, (bytes, bytearray, memoryview)) for found in branches):
        return 'which JSON cannot hold; return offload.File(data, name="…")'
    if any(written_by_value(found) for found in branches):
        return None
    problem = _no_schema(annotation, "serialization")
    if problem:
        return f"{problem[0]} cannot be written as JSON; return {problem[1]}"
    if holds_file(TypeAdapter(annotation).core_schema):
        return "but a result is either one File or JSON without files; return one File, such as a zip of several"
    return None


def is_file(annotation: Any) -> bool:
    """Tell whether a result of this type is a file rather than JSON."""
    return isinstance(annotation, type) and issubclass(annotation, (File, PurePath))


def written_by_value(annotation: Any) -> bool:
    """Tell whether pydantic does not know the type but its values can be written: msgspec's and numpy's scalars."""
    if not isinstance(annotation, type):
        return False
    return issubclass(annotation, msgspec.Struct) or any(c.__module__ == "numpy" and c.__name__ == "generic" for c in annotation.__mro__)


def default_of(parameter: Parameter) -> Any:
    """Return a fresh default, PydanticUndefined when there is none."""
    if parameter.info is not None and parameter.default is UNKNOWN:
        return parameter.info.get_default(call_default_factory=True, validated_data={})
    return PydanticUndefined if parameter.default is UNKNOWN else parameter.default
