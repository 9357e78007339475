"""The workers of a node: which jobs they run, where they may write, or that there are none."""

import importlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from offload.celery.limits import CeleryLimits
from offload.core.catalog import Catalog
from offload.core.errors import WrongJob, WrongSetting
from offload.loading import load_catalog
from offload.own_directory import OwnDirectory
from offload.ports import Clock, Workers
from offload.settings import Settings
from offload.workers.absent import NoWorkers
from offload.workers.beside import Beside
from offload.workers.pool import Pool, PoolSettings

ALONE = (
    "one process owns a SQLite file, so no other could run its tasks or give it any; "
    "use a database that nodes share: --store postgresql://user@host/database"
)


@asynccontextmanager
async def crew(
    settings: Settings, environ: Mapping[str, str], catalog: Catalog, clock: Clock, *, shares: bool
) -> AsyncIterator[Workers]:
    """Make the workers, not started, of a node that shares its store or not. Raise WrongSetting."""
    catalog = _only(catalog, settings.only_queues)
    if settings.workers == 0:
        if not shares:
            raise WrongSetting(f"workers: 0 needs other nodes that run the tasks: {ALONE}")
        yield NoWorkers()
        return
    data = settings.data.absolute()
    if not shares:  # and nobody else uses the directory
        yield _workers(settings, environ, catalog, data, clock)
        return
    own = OwnDirectory(data / "nodes")
    try:
        yield _workers(settings, environ, catalog, own.path, clock)
    finally:
        own.remove()


def jobs_of(settings: Settings) -> Catalog:
    """Return the jobs of the file and of the Celery application that the settings name.

    Raise CannotLoadJobs, WrongJob or WrongSetting.
    """
    if not settings.celery:
        return load_catalog(settings.jobs)
    theirs: Catalog = _celery("jobs").load_jobs(settings.celery)
    if not settings.jobs:
        return theirs
    own = load_catalog(settings.jobs)
    if both := sorted(own.jobs.keys() & theirs.jobs.keys()):
        raise WrongJob(
            [f"job {name!r} is in {settings.jobs} and in the Celery application; rename one" for name in both]
        )
    return replace(own, jobs={**own.jobs, **theirs.jobs})


def _workers(settings: Settings, environ: Mapping[str, str], catalog: Catalog, home: Path, clock: Clock) -> Workers:
    """Return what runs these jobs: processes of this node, Celery's workers, or each its own."""
    pool = _pool_settings(settings, environ, home / "scratch")
    if not settings.celery:
        return Pool(catalog, settings.jobs, pool, clock)
    is_celery = _celery("jobs").is_celery
    theirs = replace(catalog, jobs={name: job for name, job in catalog.jobs.items() if is_celery(job)})
    own = replace(catalog, jobs={name: job for name, job in catalog.jobs.items() if name not in theirs.jobs})
    both: list[Workers] = [Pool(own, settings.jobs, pool, clock)] if own.jobs else []
    if theirs.jobs:
        both.append(_celery("workers").open_workers(theirs, _celery_limits(settings, home), clock))
    return Beside(both) if len(both) > 1 else both[0]


def _celery(module: str) -> ModuleType:
    """Return a module of what speaks to Celery. Raise WrongSetting when its packages are not installed."""
    try:
        return importlib.import_module(f"offload.celery.{module}")
    except ModuleNotFoundError as error:
        lacks = f"celery: this needs the package {error.name!r}, which is not installed"
        raise WrongSetting(f'{lacks}: pip install "offload[celery]"') from None


def _celery_limits(settings: Settings, home: Path) -> CeleryLimits:
    return CeleryLimits(
        scratch=home / "scratch-celery",
        at_once_max=settings.celery_at_once_max,
        lost_seconds=settings.celery_lost_seconds,
        timeout_seconds=settings.job_timeout_seconds,
        grace_seconds=settings.job_grace_seconds,
        result_bytes_max=settings.result_bytes_max,
    )


def _only(catalog: Catalog, queues: tuple[str, ...]) -> Catalog:
    """Return the jobs of these queues, all when none is named. Raise WrongSetting."""
    if not queues:
        return catalog
    if unknown := sorted(set(queues) - set(catalog.queues)):
        known = ", ".join(catalog.queues)
        raise WrongSetting(f"only_queues: there is no queue {unknown[0]!r} in these jobs; there are: {known}")
    return replace(catalog, jobs={name: job for name, job in catalog.jobs.items() if job.queue in queues})


def _pool_settings(settings: Settings, environ: Mapping[str, str], scratch: Path) -> PoolSettings:
    return PoolSettings(
        scratch=scratch,
        environment=settings.child_environ(environ),
        workers=settings.workers,
        timeout_seconds=settings.job_timeout_seconds,
        grace_seconds=settings.job_grace_seconds,
        memory_bytes=settings.memory_bytes,
        recycle_tasks=settings.recycle_tasks,
        recycle_memory_bytes=settings.recycle_memory_bytes,
        result_bytes_max=settings.result_bytes_max,
        log_bytes_max=settings.log_bytes_max,
        nice=settings.nice,
    )
