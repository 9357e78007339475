"""What a run is to check: the functions that its options name, found and imported."""

import difflib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

KINDS = {"store": "stores", "broker": "brokers", "blobs": "places for files", "bell": "bells"}
"""What can be checked: the ends of the options `--offload-…`, and how people call many of it."""
PARTS = ("deliveries", "keys", "history", "schedules")
"""What a store has beside its tasks; a server needs them all."""
NODES = "nodes"
"""What only a store of many nodes has."""

Factory = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Given:
    """Factories by kind and by name, and the parts that stores are said not to have."""

    factories: dict[str, dict[str, Factory]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    without: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return any(self.factories.values())

    def targets(self, kind: str) -> list[str]:
        return list(self.factories[kind])


def read(config: pytest.Config) -> Given:
    """Return what the options of a run name. Raise UsageError."""
    here = config.invocation_params.dir
    given = Given(
        factories={kind: _factories(kind, config.getoption(f"offload_{kind}", []), here) for kind in KINDS},
        without=frozenset(_without(config.getoption("offload_without", []))),
    )
    if given and importlib.util.find_spec("hypothesis") is None:
        raise pytest.UsageError('offload.conformance needs hypothesis: pip install "offload[conformance]"')
    return given


def _factories(kind: str, targets: Iterable[str], here: Path) -> dict[str, Factory]:
    return {target: _factory(f"--offload-{kind}", target, here) for target in targets}


def _without(words: Iterable[str]) -> Iterable[str]:
    known = (*PARTS, NODES)
    for word in (each.strip() for some in words for each in some.split(",")):
        if word not in known:
            raise pytest.UsageError(f"--offload-without: {word!r} is no part of a store: {', '.join(known)}")
        yield word


def _factory(option: str, target: str, here: Path) -> Factory:
    """Return the function that `package.module:function` names; modules in the current directory are found too."""
    module_name, _, path = target.partition(":")
    if not path or not all(part.isidentifier() for part in (*module_name.split("."), *path.split("."))):
        raise pytest.UsageError(f"{option}: {target!r} is not MODULE:FACTORY, as in shop.store:opened")
    if str(here) not in sys.path:
        sys.path.insert(0, str(here))
    found: Any = _imported(option, module_name, here)
    for name in path.split("."):
        if not hasattr(found, name):
            near = difflib.get_close_matches(name, dir(found), 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise pytest.UsageError(f"{option}: {module_name} holds no {path!r}{hint}")
        found = getattr(found, name)
    if not callable(found):
        raise pytest.UsageError(f"{option}: {target} is no function but {type(found).__name__}")
    factory: Factory = found
    return factory


def _imported(option: str, name: str, here: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and (name + ".").startswith(error.name + "."):
            raise pytest.UsageError(
                f"{option}: there is no module {error.name}, neither in {here} nor among what is installed"
            ) from None
        last = traceback.extract_tb(error.__traceback__)[-1]
        what = "".join(traceback.format_exception_only(error)).strip()
        raise pytest.UsageError(
            f"{option}: {name} cannot be imported: {last.filename}:{last.lineno}: {what}"
        ) from error
