"""Finds the jobs: imports the user's file or module, and tells what went wrong in the user's own terms."""

import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from offload.core.catalog import Catalog
from offload.core.errors import CannotLoadJobs, OffloadError

MADE = "made:"
"""Begins a target that is no file: `made:module:argument`, jobs made by `make_catalog(argument)` of the module."""
_LOADED = "__loaded_by_offload__"
"""Marks modules that came from a file: another file of that name may take the place, a library may not lose it."""


def load_catalog(target: str) -> Catalog:
    """Return the jobs of a file or module; raise CannotLoadJobs, or WrongJob when a job in it cannot work."""
    if target.startswith(MADE):
        maker, _, argument = target.removeprefix(MADE).partition(":")
        made: Catalog = importlib.import_module(maker).make_catalog(argument)
        return made
    catalog = Catalog.of(load_module(target))
    if not catalog.jobs:
        raise CannotLoadJobs(f"{target} holds no job: mark a function with @offload.job")
    return catalog


def load_module(target: str) -> ModuleType:
    """Import `gallery.py`, `path/to/gallery.py` or `package.module`; raise CannotLoadJobs."""
    if target.endswith(".py") or os.sep in target:
        return _load_file(target)
    if not all(part.isidentifier() for part in target.split(".")):
        raise CannotLoadJobs(f"{target!r} is neither a file nor a module: say gallery.py or package.module")
    return _load_dotted(target)


def _load_file(target: str) -> ModuleType:
    path = Path(target).resolve()
    if path.is_dir():
        raise CannotLoadJobs(f"{target} is a directory: name the file in it that holds the jobs")
    if not path.is_file():
        raise CannotLoadJobs(f"there is no file {target}{_near(path)}")
    name = path.stem
    known = sys.modules.get(name)
    if known is not None and known.__dict__.get("__file__") == str(path):
        return known
    if name in sys.stdlib_module_names or (known is not None and not hasattr(known, _LOADED)):
        raise CannotLoadJobs(f"{target} has the name of another module, {name}, and would hide it: rename the file")
    _put_on_path(path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CannotLoadJobs(f"{target} is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    setattr(module, _LOADED, True)
    sys.modules[name] = module  # before it runs, as `import` does: dataclasses and pydantic look their module up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _cannot_load(target, error, path.parent) from error
    return module


def _load_dotted(target: str) -> ModuleType:
    _put_on_path(Path.cwd())
    try:
        return importlib.import_module(target)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and (target + ".").startswith(error.name + "."):
            near = Path(target.replace(".", os.sep) + ".py")
            hint = f"; did you mean ./{near}?" if near.is_file() else _near(Path.cwd() / near)
            raise CannotLoadJobs(f"there is no module {error.name}{hint}") from None
        raise _cannot_load(target, error, Path.cwd()) from error


def _cannot_load(target: str, error: BaseException, home: Path) -> OffloadError:
    """Say where in the user's own code the import failed, and what may help."""
    if isinstance(error, OffloadError):
        return error  # it already says where
    if isinstance(error, SyntaxError):
        text = f"\n    {error.text.strip()}" if error.text else ""
        return CannotLoadJobs(
            f"{_shown(error.filename or target)}:{error.lineno}: {type(error).__name__}: {error.msg}{text}"
        )
    frame = _last_own_frame(error, home)
    place = f"{_shown(frame.filename)}:{frame.lineno}" if frame else target
    if isinstance(error, SystemExit):
        what = "it ends the program when it is imported; put that below `if __name__ == '__main__':`"
    else:
        what = "".join(traceback.format_exception_only(error)).strip()
    code = f"\n    {frame.line}" if frame and frame.line else ""
    return CannotLoadJobs(f"{place}: {what}{_hint(error)}{code}")


def _hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"; is it installed for {sys.executable}?"
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "; name the module instead of its file, as in package.module"
    return ""


def _last_own_frame(error: BaseException, home: Path) -> traceback.FrameSummary | None:
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename).is_relative_to(home) and "site-packages" not in f.filename]
    return own[-1] if own else None


def _near(path: Path) -> str:
    """Suggest a file of almost that name."""
    there = [found.name for found in path.parent.glob("*.py")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, 1)
    return f"; did you mean {_shown(str(path.parent / near[0]))}?" if near else ""


def _shown(path: str) -> str:
    """Return a path as the user would type it."""
    below = os.path.relpath(path)
    return path if below.startswith("..") else below


def _put_on_path(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
