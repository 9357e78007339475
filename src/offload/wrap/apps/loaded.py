"""Finds the application that `module:app` names, and tells which of the two interfaces it speaks."""

import inspect
import os
from pathlib import Path
from typing import Any

from offload.core.errors import CannotLoadJobs
from offload.loading import load_module

NAMES = ("app", "application")
"""Where an application is looked for when only its module is named."""


def load_app(target: str) -> Any:
    """Return the application of `module:app`, `file.py:app` or `module:make_app()`. Raise CannotLoadJobs."""
    source, colon, attribute = target.rpartition(":")
    if not colon:
        source, attribute = target, ""
    module = load_module(source)
    makes, attribute = attribute.endswith("()"), attribute.removesuffix("()")
    found: Any = module
    for part in attribute.split(".") if attribute else ():
        found = getattr(found, part, None)
    if not attribute:
        found = next((getattr(module, name) for name in NAMES if hasattr(module, name)), None)
    if not callable(found):
        named = f"{source} has no {attribute or ' or '.join(NAMES)}"
        raise CannotLoadJobs(f"{named} that can be called: name the application, as in shop.web:app")
    if makes:
        try:
            found = found()
        except Exception as error:
            raise CannotLoadJobs(f"{target} failed: {type(error).__name__}: {error}") from error
    # a module that mounts its application by itself is loaded by the workers too, and they want what is inside
    return getattr(found, "wrapped_app", found)


def speaks_asgi(app: Any) -> bool:
    """Tell whether an application is called as ASGI; otherwise it is WSGI. Raise CannotLoadJobs."""
    call = app if inspect.isfunction(app) or inspect.ismethod(app) else type(app).__call__
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call):
        return True
    try:
        needed = [p for p in inspect.signature(app).parameters.values() if p.default is p.empty and p.kind in _PLACES]
    except (TypeError, ValueError):
        return False
    if len(needed) == 3:
        return True
    if len(needed) in (0, 2):  # none: it takes whatever comes, as decorated functions do
        return False
    raise CannotLoadJobs(f"{app!r} is neither a WSGI nor an ASGI application: it takes {len(needed)} arguments")


def absolute(target: str) -> str:
    """Return the target as a worker finds it, wherever it works."""
    source, colon, attribute = target.rpartition(":")
    if not colon:
        source, attribute = target, ""
    if source.endswith(".py") or os.sep in source:
        source = str(Path(source).resolve())
    return f"{source}{colon}{attribute}"


_PLACES = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
