"""What an object lacks to be what a port asks for: members that are not there, and arguments that they do not take."""

import inspect
from collections.abc import Iterator


def lacks(thing: object, port: type) -> list[str]:
    """Name each member of a port that an object does not have as the port has it."""
    return [f"{port.__name__}.{name} {what}" for name in members(port) if (what := _trouble(thing, port, name))]


def members(port: type) -> Iterator[str]:
    """Return the public names of a port, in its own order."""
    for name in [*vars(port), *getattr(port, "__annotations__", {})]:
        if not name.startswith("_"):
            yield name


def _trouble(thing: object, port: type, name: str) -> str:
    if not hasattr(thing, name):
        return "is missing"
    wanted = vars(port).get(name)
    if not inspect.isfunction(wanted):
        return ""  # a property: what it gives is told by the tests
    given = getattr(thing, name)
    if not callable(given):
        return f"is no method but {type(given).__name__}"
    try:
        takes = inspect.signature(given)
    except ValueError:
        return ""  # written in C, and says nothing of itself
    _, *parameters = inspect.signature(wanted).parameters.values()
    positional = [each.name for each in parameters if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    keywords = {each.name: None for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}
    try:
        takes.bind(*positional, **keywords)
    except TypeError as error:
        return f"cannot be called as the port says: {error}"
    return ""
