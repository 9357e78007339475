"""The Catalog: the jobs that one module holds, found by their marks."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any

from offload.core.errors import JobDoesNotExist, WrongJob
from offload.core.job import Job, Kind, kind_of
from offload.core.mark import CONCURRENCY_DEFAULT, NAME, Mark, mark_of, where
from offload.core.schema import Schema
from offload.core.signature import Signature, read_signature


@dataclass(frozen=True, slots=True)
class Catalog:
    """The jobs of one module, by name, in the order of their definition."""

    jobs: Mapping[str, Job]

    @classmethod
    def of(cls, module: ModuleType) -> "Catalog":
        """Collect the marked objects of a module; raise WrongJob with everything that is wrong with them."""
        return cls._collect(vars(module).items())

    @classmethod
    def of_jobs(cls, *marked: Any) -> "Catalog":
        """Collect these marked objects."""
        for found in marked:
            if mark_of(found) is None:
                raise WrongJob([f"{where(found)}: it is not marked with @offload.job"])
        return cls._collect((found.__name__, found) for found in marked)

    def find(self, name: str) -> Job:
        """Return the job, or raise JobDoesNotExist."""
        found = self.jobs.get(name)
        if found is None:
            raise JobDoesNotExist(name, list(self.jobs))
        return found

    @property
    def queues(self) -> tuple[str, ...]:
        return tuple(sorted({found.queue for found in self.jobs.values()}))

    def of_queue(self, queue: str) -> tuple[Job, ...]:
        return tuple(found for found in self.jobs.values() if found.queue == queue)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs.values())

    def __len__(self) -> int:
        return len(self.jobs)

    @classmethod
    def _collect(cls, attributes: Iterable[tuple[str, Any]]) -> "Catalog":
        jobs: dict[str, Job] = {}
        problems: list[str] = []
        seen: set[int] = set()
        for attribute, value in attributes:
            mark = mark_of(value)
            if mark is None or id(value) in seen:
                continue
            seen.add(id(value))
            found, wrong = _job_of(value, mark, attribute)
            problems += [f"{where(value)}: {problem}" for problem in wrong]
            if found is None:
                continue
            if found.name in jobs:
                problems.append(
                    f"{where(value)}: job {found.name!r} is also {where(jobs[found.name].target)}; rename one"
                )
            jobs.setdefault(found.name, found)
        if problems:
            raise WrongJob(problems)
        return cls(jobs=MappingProxyType(jobs))


def _job_of(value: Any, mark: Mark, attribute: str) -> tuple[Job | None, list[str]]:
    """Return the job, or what is wrong with it."""
    is_class = inspect.isclass(value)
    if is_class and not inspect.isfunction(inspect.getattr_static(value, "__call__", None)):
        return None, ["a class needs a __call__ method to be a job"]
    kind = kind_of(value.__call__ if is_class else value)
    signature = read_signature(value, is_class=is_class, is_generator=kind.is_generator)
    problems = [*_wrong_use(value, mark, kind), *signature.problems, *_wrong_recurrence(mark, signature)]
    name = mark.name or (_snake_case(value.__name__) if is_class else value.__name__)
    if not NAME.fullmatch(name):
        problems.append(f'its name cannot be a job\'s: {NAME.pattern} must match {name!r}; say @job(name="…")')
    if problems:
        return None, problems
    return Job(
        name=name,
        queue=mark.queue,
        description=inspect.cleandoc(value.__doc__ or (is_class and value.__call__.__doc__) or ""),
        kind=kind,
        is_class=is_class,
        qualname=attribute,
        retry=mark.retry,
        priority=mark.priority,
        timeout_seconds=mark.timeout_seconds,
        memory_bytes=mark.memory_bytes,
        workers=mark.workers,
        concurrency=(mark.concurrency or CONCURRENCY_DEFAULT) if kind.is_async else 1,
        recycle_tasks=mark.recycle_tasks,
        recycle_memory_bytes=mark.recycle_memory_bytes,
        result_bytes_max=mark.result_bytes_max,
        log_bytes_max=mark.log_bytes_max,
        grace_seconds=mark.grace_seconds,
        schema=Schema(name, signature, is_generator=kind.is_generator),
        takes_context=signature.context,
        target=value,
        recurrence=mark.recurrence,
        catch_up=mark.catch_up,
        external=mark.external,
    ), []


def _wrong_use(value: Any, mark: Mark, kind: Kind) -> list[str]:
    """Say which options do not fit what was marked, and whether a class can be built."""
    problems = []
    if mark.external:
        return _wrong_external(value, mark, kind)
    if mark.concurrency is not None and not kind.is_async:
        problems.append("concurrency is for async jobs; a plain one runs as often as there are workers: use workers=")
    if inspect.isclass(value):
        required = [
            p.name
            for p in inspect.signature(value).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if required:
            problems.append(f"__init__ must work without arguments, but wants {', '.join(required)}")
    return problems


def _wrong_recurrence(mark: Mark, signature: Signature) -> list[str]:
    required = [parameter.name for parameter in signature.parameters if parameter.required]
    if mark.recurrence is None or not required:
        return []
    return [
        f"it runs by itself ({mark.recurrence}), so nobody gives it {', '.join(required)}: give each a default, "
        "or make a schedule with an input by PUT /v1/schedules/{name}"
    ]


def _wrong_external(value: Any, mark: Mark, kind: Kind) -> list[str]:
    """Say what means nothing for a job of which only the signature is used."""
    problems = []
    if inspect.isclass(value) or kind is not Kind.FUNCTION:
        problems.append("an external job is a plain function: its signature says what goes in and comes out")
    options = ("workers", "concurrency", "memory_bytes", "recycle_tasks", "recycle_memory_bytes", "grace_seconds")
    if given := [name.removesuffix("_bytes").removesuffix("_seconds") for name in options if getattr(mark, name)]:
        problems.append(f"external=True and {', '.join(given)}: that is for workers of this server, and none runs it")
    return problems


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
