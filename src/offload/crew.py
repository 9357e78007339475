"""The workers of a node: which jobs they run, where they may write, or that there are none."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from offload.core.catalog import Catalog
from offload.core.errors import WrongSetting
from offload.own_directory import OwnDirectory
from offload.ports import Clock, Workers
from offload.settings import Settings
from offload.workers.absent import NoWorkers
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
        yield Pool(catalog, settings.jobs, _pool_settings(settings, environ, data / "scratch"), clock)
        return
    own = OwnDirectory(data / "nodes")
    try:
        yield Pool(catalog, settings.jobs, _pool_settings(settings, environ, own.path / "scratch"), clock)
    finally:
        own.remove()


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
