"""Reads what a function wants and gives from its signature, and says what cannot work."""

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from offload.core.shapes import is_context, type_name, unreadable, unwritable

UNKNOWN: Any = inspect.Parameter.empty
"""Stands for no annotation and for no default."""

_LISTED = frozenset({"Iterator", "Iterable", "Generator", "AsyncIterator", "AsyncIterable", "AsyncGenerator"})


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
    takes_more: bool = False
    """Parameters that are not listed are taken as well, unseen."""


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
                found.problems.append(
                    f"parameters {found.context!r} and {parameter.name!r} both ask for the Context; keep one"
                )
            found.context = parameter.name
        else:
            _add(parameter, annotation, found)
    _read_return(hints.get("return", UNKNOWN), found, is_generator=is_generator)
    return found


def default_of(parameter: Parameter) -> Any:
    """Return a fresh default, PydanticUndefined when there is none."""
    if parameter.info is not None and parameter.default is UNKNOWN:
        return parameter.info.get_default(call_default_factory=True, validated_data={})
    return PydanticUndefined if parameter.default is UNKNOWN else parameter.default


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
        problem = (
            f"parameter {parameter.name!r} is positional-only, but inputs are given by name; remove the / after it"
        )
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
                found.problems.append(
                    f"parameter {name!r} has an alias; a parameter is called by its own name: rename it"
                )
                return
            if not extra.is_required():
                if default is not UNKNOWN:
                    found.problems.append(
                        f"parameter {name!r} has two defaults, {default!r} and in its Field; keep one"
                    )
                info = extra
    problem = unreadable(annotation)
    if problem:
        found.problems.append(f"parameter {name!r} {problem}")
    else:
        found.parameters.append(Parameter(name=name, annotation=annotation, default=default, info=info))


def _read_return(annotation: Any, found: Signature, *, is_generator: bool) -> None:
    if is_generator:
        origin = get_origin(annotation) or annotation
        arguments = get_args(annotation)
        annotation = arguments[0] if getattr(origin, "__name__", "") in _LISTED and arguments else UNKNOWN
    if annotation is UNKNOWN:
        return
    problem = unwritable(annotation, is_generator=is_generator)
    if problem:
        found.problems.append(f"it {'yields' if is_generator else 'returns'} {type_name(annotation)}, {problem}")
    else:
        found.returns = annotation
