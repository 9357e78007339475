"""The @job decorator: it marks a function or class with options and leaves it as it is."""

import difflib
import inspect
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack, overload

from offload.core.errors import WrongJob
from offload.core.quantities import parse_bytes
from offload.core.recurrence import CATCH_UPS, CatchUp, Recurrence, read_recurrence
from offload.core.retry import Retry
from offload.core.schedule_errors import WrongSchedule
from offload.core.task import PRIORITY_MAX

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
ATTRIBUTE = "__offload_job__"
CONCURRENCY_DEFAULT = 100

_F = TypeVar("_F", bound=Callable[..., Any])


class Options(TypedDict, total=False):
    """What @job may be told."""

    name: str | None
    """The name clients use; the function's own by default."""
    queue: str | None
    """The lane its tasks wait in; `default` by default."""
    timeout: float | None
    """Seconds an attempt may run; the server's default when not given."""
    retry: Retry | None
    workers: int | None
    """A number of worker processes of its own."""
    concurrency: int | None
    """Attempts at a time in the one process of an async job."""
    memory: int | str | None
    """Bytes, or as in `512MB` and `1GiB`, that a worker may use."""
    priority: int
    """-100 to 100, higher first, when the request does not say."""
    recycle_tasks: int | None
    """A worker is replaced after so many tasks."""
    recycle_memory: int | str | None
    """A worker that has grown beyond this is replaced after its task."""
    result_bytes_max: int | str | None
    log_bytes_max: int | str | None
    grace: float | None
    """Seconds between being asked to stop and being killed."""
    every: float | str | None
    """Run it again and again: seconds, or as in `5m` and `1h`; it must need no input."""
    cron: str | None
    """Run it at the times of a cron expression."""
    timezone: str | None
    """Of `cron`: a name such as `Europe/Berlin`; `UTC` by default."""
    catch_up: CatchUp | None
    """`skip`, `last` or `all`: which due times that passed unnoticed still make tasks; `last` by default."""
    external: bool
    """Never run here: its tasks are leased by workers in any language, and its body is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The options of one marked object, checked."""

    name: str | None
    queue: str
    timeout_seconds: float | None
    retry: Retry
    workers: int | None
    concurrency: int | None
    memory_bytes: int | None
    priority: int
    recycle_tasks: int | None
    recycle_memory_bytes: int | None
    result_bytes_max: int | None
    log_bytes_max: int | None
    grace_seconds: float | None
    recurrence: Recurrence | None
    catch_up: CatchUp
    external: bool = False


@overload
def job(function: _F, /) -> _F: ...
@overload
def job(**options: Unpack[Options]) -> Callable[[_F], _F]: ...
def job(function: Any = None, /, **options: Any) -> Any:
    """Mark a function, async function, generator or class with `__call__` as a job; it stays callable as before.

    Wrong options raise WrongJob at once. Sizes are bytes or text such as "512MB", times are seconds.
    """
    if function is None:
        return lambda found: _mark(found, options)
    return _mark(function, options)


def mark_of(value: object) -> Mark | None:
    """Return an object's own mark; a subclass of a marked class is not marked."""
    found = vars(value).get(ATTRIBUTE) if inspect.isfunction(value) or inspect.isclass(value) else None
    return found if isinstance(found, Mark) else None


def where(value: Any) -> str:
    """Return the place of a function or class for people, as in `gallery.py:12 resize()`."""
    try:
        code = inspect.unwrap(value).__code__
        file, line = code.co_filename, code.co_firstlineno
    except AttributeError:
        try:
            file, line = inspect.getsourcefile(value) or "?", inspect.getsourcelines(value)[1]
        except (OSError, TypeError):
            return f"{getattr(value, '__module__', '?')} {getattr(value, '__qualname__', repr(value))}"
    file = file.removeprefix(os.getcwd() + os.sep)
    shown = f"{file}:{line} {value.__qualname__.rpartition('<locals>.')[2]}"
    return shown if inspect.isclass(value) else shown + "()"


def _mark(found: Any, options: dict[str, Any]) -> Any:
    if not (inspect.isfunction(found) or inspect.isclass(found)):
        raise WrongJob([f"@job marks a function or a class, not {found!r}"])
    problems: list[str] = []
    mark = _checked(options, problems)
    if problems:
        raise WrongJob([f"{where(found)}: {problem}" for problem in problems])
    setattr(found, ATTRIBUTE, mark)
    return found


def _checked(options: dict[str, Any], problems: list[str]) -> Mark:
    for option in options:
        if option not in Options.__annotations__:
            near = difflib.get_close_matches(option, Options.__annotations__, 1)
            known = f"did you mean {near[0]}?" if near else f"@job knows {', '.join(Options.__annotations__)}"
            problems.append(f"there is no option {option}; {known}")
    check = _Check(options, problems)
    retry = options.get("retry") or Retry()
    if not isinstance(retry, Retry):
        problems.append(f"retry={retry!r} is wrong: it takes offload.Retry(max_attempts=…)")
        retry = Retry()
    return Mark(
        name=check.name("name"),
        queue=check.name("queue") or "default",
        timeout_seconds=check.seconds("timeout"),
        retry=retry,
        workers=check.count("workers", 1, 1024),
        concurrency=check.count("concurrency", 1, 100_000),
        memory_bytes=check.size("memory"),
        priority=check.count("priority", -PRIORITY_MAX, PRIORITY_MAX) or 0,
        recycle_tasks=check.count("recycle_tasks", 1, 10**9),
        recycle_memory_bytes=check.size("recycle_memory"),
        result_bytes_max=check.size("result_bytes_max"),
        log_bytes_max=check.size("log_bytes_max"),
        grace_seconds=check.seconds("grace", zero=True),
        recurrence=check.recurrence(),
        catch_up=check.catch_up(),
        external=check.flag("external"),
    )


class _Check:
    """Reads options one by one and notes each that is wrong."""

    def __init__(self, options: dict[str, Any], problems: list[str]) -> None:
        self._options = options
        self._problems = problems

    def name(self, option: str) -> str | None:
        value = self._options.get(option)
        if value is None or (isinstance(value, str) and NAME.fullmatch(value)):
            return value
        self._wrong(option, "a name of lower-case letters, digits, _ and -, a letter first, at most 64 characters")
        return None

    def count(self, option: str, least: int, most: int) -> int | None:
        value = self._options.get(option)
        if value is None or (type(value) is int and least <= value <= most):
            return value
        self._wrong(option, f"a whole number from {least} to {most}")
        return None

    def seconds(self, option: str, *, zero: bool = False) -> float | None:
        value = self._options.get(option)
        if value is None:
            return None
        if type(value) in (int, float) and math.isfinite(value) and (value > 0 or (zero and value == 0)):
            return float(value)
        self._wrong(option, f"a number of seconds{', 0 or more' if zero else ' above 0'}")
        return None

    def flag(self, option: str) -> bool:
        value = self._options.get(option)
        if value is None or isinstance(value, bool):
            return bool(value)
        self._wrong(option, "True or False")
        return False

    def size(self, option: str) -> int | None:
        value = self._options.get(option)
        if value is None:
            return None
        try:
            size = parse_bytes(value) if isinstance(value, str) else value
        except ValueError:
            size = 0
        if type(size) is not int or size < 1:
            self._wrong(option, 'a size such as "512MB", "1GiB" or a number of bytes')
            return None
        return size

    def recurrence(self) -> Recurrence | None:
        given = {name: self._options.get(name) for name in ("cron", "every", "timezone")}
        if given["cron"] is None and given["every"] is None:
            for name in ("timezone", "catch_up"):
                if self._options.get(name) is not None:
                    self._wrong(name, "every= or cron= beside it")
            return None
        try:
            return read_recurrence(**given)
        except WrongSchedule as error:
            for mistake in error.errors:
                name = mistake["loc"][0]
                self._problems.append(f"{name}={given.get(name)!r} is wrong: {mistake['message']}")
            return None

    def catch_up(self) -> CatchUp:
        value = self._options.get("catch_up")
        if value is not None and value not in CATCH_UPS:
            self._wrong("catch_up", f"one of {', '.join(CATCH_UPS)}")
        return value if value in CATCH_UPS else "last"

    def _wrong(self, option: str, takes: str) -> None:
        self._problems.append(f"{option}={self._options[option]!r} is wrong: it takes {takes}")
