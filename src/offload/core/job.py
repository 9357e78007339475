"""A job: a marked function or class with everything that was read from it."""

import inspect
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from offload.core.mark import job
from offload.core.recurrence import CatchUp, Recurrence
from offload.core.retry import Retry
from offload.core.schema import Schema

__all__ = ["Job", "Kind", "job"]


class Kind(StrEnum):
    """How a job runs; a class has the kind of its `__call__`."""

    FUNCTION = "function"
    ASYNC = "async"
    GENERATOR = "generator"
    ASYNC_GENERATOR = "async_generator"

    @property
    def is_async(self) -> bool:
        return self in (Kind.ASYNC, Kind.ASYNC_GENERATOR)

    @property
    def is_generator(self) -> bool:
        return self in (Kind.GENERATOR, Kind.ASYNC_GENERATOR)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A registered definition: how to call it, and under which limits."""

    name: str
    queue: str
    description: str
    kind: Kind
    is_class: bool
    qualname: str
    """The attribute of the module that holds it."""
    retry: Retry
    priority: int
    timeout_seconds: float | None
    memory_bytes: int | None
    workers: int | None
    concurrency: int
    recycle_tasks: int | None
    recycle_memory_bytes: int | None
    result_bytes_max: int | None
    log_bytes_max: int | None
    grace_seconds: float | None
    schema: Schema
    takes_context: str | None
    """The parameter that gets the Context."""
    target: object
    recurrence: Recurrence | None = None
    """When it runs by itself."""
    catch_up: CatchUp = "last"
    external: bool = False
    """Run by workers that lease its tasks, not by ours."""


def kind_of(function: Any) -> Kind:
    """Tell how a function runs."""
    if inspect.isasyncgenfunction(function):
        return Kind.ASYNC_GENERATOR
    if inspect.iscoroutinefunction(function):
        return Kind.ASYNC
    return Kind.GENERATOR if inspect.isgeneratorfunction(function) else Kind.FUNCTION
