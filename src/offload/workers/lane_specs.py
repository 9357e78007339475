"""What a pool is told, and the lanes that follow from it for a catalog's jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from offload.core.catalog import Catalog
from offload.core.job import Job
from offload.core.task import Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """The limits and places of a pool; what a job says of itself comes first."""

    scratch: Path
    """A directory of the pool's own; emptied at start. On the file system of the blobs, results move for free."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What worker processes see; nothing else of the server's environment reaches them."""
    workers: int = 2
    timeout_seconds: Seconds | None = None
    grace_seconds: Seconds = 5.0
    memory_bytes: int | None = None
    recycle_tasks: int | None = None
    recycle_memory_bytes: int | None = None
    result_bytes_max: int = 2**30
    log_bytes_max: int = 256 * 2**10
    nice: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSpec:
    """What makes a lane."""

    name: str
    jobs: tuple[Job, ...]
    size: int
    is_async: bool
    is_shared: bool
    recycle_tasks: int | None
    recycle_memory_bytes: int | None
    memory_bytes: int | None


def lane_specs(catalog: Catalog, settings: PoolSettings) -> list[LaneSpec]:
    """Return the lanes that a catalog needs: own ones for jobs that say `workers`, one for the rest of each kind."""
    ours = [job for job in catalog.jobs.values() if not job.external]
    own = [job for job in ours if job.workers is not None]
    rest = [job for job in ours if job.workers is None]
    specs = [_own_lane(job, settings) for job in own]
    for name, is_async, size in (("shared", False, settings.workers), ("async", True, 1)):
        jobs = tuple(job for job in rest if job.kind.is_async is is_async)
        if jobs:
            specs.append(
                LaneSpec(
                    name=name,
                    jobs=jobs,
                    size=size,
                    is_async=is_async,
                    is_shared=True,
                    memory_bytes=settings.memory_bytes,
                    recycle_tasks=settings.recycle_tasks,
                    recycle_memory_bytes=settings.recycle_memory_bytes,
                )  # fmt: skip
            )
    return specs


def _own_lane(job: Job, settings: PoolSettings) -> LaneSpec:
    assert job.workers is not None
    return LaneSpec(
        name=f"job:{job.name}",
        jobs=(job,),
        size=job.workers,
        is_async=job.kind.is_async,
        is_shared=False,
        memory_bytes=settings.memory_bytes if job.memory_bytes is None else job.memory_bytes,
        recycle_tasks=settings.recycle_tasks if job.recycle_tasks is None else job.recycle_tasks,
        recycle_memory_bytes=settings.recycle_memory_bytes
        if job.recycle_memory_bytes is None
        else job.recycle_memory_bytes,
    )
