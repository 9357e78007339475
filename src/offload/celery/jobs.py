"""Jobs made of Celery tasks: their names, their queues, and what their signatures say of their input."""

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from celery import Celery

from offload.celery.app import load_app, make_patient, tasks_of
from offload.core.catalog import Catalog
from offload.core.errors import WrongJob
from offload.core.job import Job, Kind
from offload.core.retry import Retry
from offload.core.schema import Schema
from offload.core.signature import Signature, read_signature

NAME_MAX = 64
RETRY = Retry(max_attempts=5, first_seconds=1.0)
"""Of attempts that were lost: by this server, or by Celery. What a task raises is Celery's to retry."""


class CeleryTask:
    """What a job of Celery's stands for."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.name: str = task.name
        self.queue = queue_of(task)
        self.repeats = bool(task.acks_late)
        """Its workers may run it again when one is lost; else each message is run once or never."""
        self._parameters = list(inspect.signature(task.run).parameters.values())

    def arguments(self, given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return a checked input as the task is called: by position what has to be."""
        rest = next((p.name for p in self._parameters if p.kind is p.VAR_POSITIONAL), None)
        named = dict(given)
        more = list(named.pop(rest, [])) if rest is not None else []
        positional: list[Any] = []
        for parameter in self._parameters:
            by_place = parameter.kind is parameter.POSITIONAL_ONLY or (
                more and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            )
            if by_place and parameter.name in named:
                positional.append(named.pop(parameter.name))
            elif by_place and parameter.default is not parameter.empty and (more or positional):
                positional.append(parameter.default)
        return positional + more, named


def load_jobs(target: str) -> Catalog:
    """Return the jobs of the application that `celery -A target` would find. Raise CannotLoadJobs, WrongJob."""
    app = load_app(target)
    make_patient(app)
    return catalog_of(app)


def is_celery(job: Job) -> bool:
    return isinstance(job.target, CeleryTask)


def app_of(catalog: Catalog) -> Celery:
    """Return the application that all these jobs are of."""
    (app,) = {job.target.task.app for job in catalog.jobs.values() if isinstance(job.target, CeleryTask)}
    return app


def catalog_of(app: Celery) -> Catalog:
    """Return the jobs that an application's tasks are. Raise WrongJob when two would have one name."""
    jobs: dict[str, Job] = {}
    problems = []
    for task in tasks_of(app).values():
        job = _job_of(CeleryTask(task))
        if job.name in jobs:
            other = jobs[job.name].target
            assert isinstance(other, CeleryTask)
            problems.append(f"Celery's tasks {task.name} and {other.name} would both be job {job.name!r}; rename one")
        jobs[job.name] = job
    if not jobs and not problems:
        problems.append(f"the Celery application {app.main or app!r} has no task of its own")
    if problems:
        raise WrongJob(problems)
    return Catalog(jobs=MappingProxyType(jobs))


def job_name(task: str) -> str:
    """Return the name of the job that a task is: `proj.tasks.Add` is `proj-tasks-add`."""
    return _fitting(task, re.sub(r"[^a-z0-9_]+", "-", task.lower()).strip("-"))


def queue_of(task: Any) -> str:
    """Return the name of the queue to which an application sends a task."""
    queue = task.app.amqp.router.route({}, task.name).get("queue")
    return str(getattr(queue, "name", queue) or task.app.conf.task_default_queue)


def _fitting(text: str, name: str) -> str:
    """Return a name with a letter first and of a length that fits; a hash keeps apart what was cut off."""
    name = name if name[:1].isalpha() else f"task-{name}"
    if len(name) <= NAME_MAX:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name[: NAME_MAX - 9]}-{digest}"


def _job_of(task: CeleryTask) -> Job:
    name = job_name(task.name)
    limit = task.task.time_limit or task.task.app.conf.task_time_limit
    about = inspect.cleandoc(inspect.getdoc(task.task.run) or "")
    return Job(
        name=name,
        queue=_fitting(task.queue, re.sub(r"[^a-z0-9_]+", "-", task.queue.lower()).strip("-")),
        description="\n\n".join(filter(None, (about, f"Celery's task {task.name}."))),
        kind=Kind.FUNCTION,
        is_class=False,
        qualname=task.name,
        retry=RETRY,
        priority=0,
        timeout_seconds=float(limit) if limit else None,
        memory_bytes=None,
        workers=None,
        concurrency=1,
        recycle_tasks=None,
        recycle_memory_bytes=None,
        result_bytes_max=None,
        log_bytes_max=None,
        grace_seconds=None,
        schema=_schema_of(name, task.task.run),
        takes_context=None,
        target=task,
    )


def _schema_of(name: str, run: Callable[..., Any]) -> Schema:
    """Return what a signature says; where it says what no input can be, whatever fits the names."""
    signature = _read(run, annotated=True)
    if signature.problems or signature.context:
        signature = _read(run, annotated=False)
    return Schema(name, signature, is_generator=False)


def _read(run: Callable[..., Any], *, annotated: bool) -> Signature:
    """Read a signature as one of names only: `*args` is a list of that name, `**kwargs` lets in any other name."""
    function = getattr(run, "__func__", run)
    hints = dict(getattr(function, "__annotations__", {})) if annotated else {}
    parameters, takes_more = [], False
    for parameter in inspect.signature(run).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_more = True
            hints.pop(parameter.name, None)
            continue
        default = parameter.default
        if parameter.kind is parameter.VAR_POSITIONAL:
            default, hints[parameter.name] = [], list[Any]
        parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY, default=default))

    def stub() -> None: ...

    stub.__annotations__ = hints
    stub.__wrapped__ = function  # type: ignore[attr-defined]  # annotations are names of its module
    stub.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    found = read_signature(stub, is_class=False, is_generator=False)
    found.takes_more = takes_more
    return found
