"""The jobs of a wrapped application: made, not written, and the same in the server and in each of its workers."""

import os
from pathlib import Path
from typing import Any

import msgspec

from offload.core.catalog import Catalog
from offload.core.files import File, scratch
from offload.core.mark import job
from offload.core.retry import Retry
from offload.loading import MADE
from offload.wrap.apps import asgi, wsgi
from offload.wrap.apps.loaded import load_app, speaks_asgi
from offload.wrap.apps.messages import Head, ResponseFile, whole
from offload.wrap.apps.routes import REQUEST, Slow

RETRY = Retry(max_attempts=3)
"""For requests that may be repeated; all others have one attempt."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrapped, and how its requests run."""

    app: str = ""
    upstream: str = ""
    slow: tuple[Slow, ...] = ()
    workers: int
    """How many requests run at a time in the line that all share."""
    result_bytes_max: int

    @property
    def target(self) -> str:
        """Return what stands for a file or module of jobs."""
        return f"{MADE}{__name__}:{msgspec.json.encode(self).decode()}"

    @property
    def jobs(self) -> dict[str, int]:
        """Return the jobs, and how many requests of each run at a time."""
        own = {each.job: each.workers for each in self.slow if each.workers is not None}
        return {REQUEST: self.workers, **own}


def make_catalog(argument: str) -> Catalog:
    """Return the jobs of a plan in JSON."""
    plan = msgspec.json.decode(argument, type=Plan)
    return Catalog.of_jobs(*(_job_of(plan, name, workers) for name, workers in plan.jobs.items()))


def _job_of(plan: Plan, name: str, workers: int) -> type:
    made = _upstream_job(plan) if plan.upstream else _app_job(plan)
    made.__name__ = made.__qualname__ = name
    if plan.upstream:
        return job(name=name, queue=name, workers=1, concurrency=workers, retry=RETRY)(made)
    return job(name=name, queue=name, workers=workers, retry=RETRY)(made)


def _app_job(plan: Plan) -> type:
    class Requests:
        """Runs a stored request against the wrapped application."""

        def __init__(self) -> None:
            app: Any = load_app(plan.app)
            self._resident = asgi.Resident(app) if speaks_asgi(app) else None
            self._app: wsgi.App = app

        def __call__(self, request: dict[str, Any], body: File | None = None, secrets: File | None = None) -> File:
            head, path = _read(request, secrets), body and body.path
            response = ResponseFile(Path(os.getcwd(), "response"), plan.result_bytes_max)
            try:
                if self._resident is not None:
                    return self._resident.respond(head, path, response)
                return wsgi.respond(self._app, head, path, response)
            finally:
                response.close()

    return Requests


def _upstream_job(plan: Plan) -> type:
    from offload.wrap.apps.upstream import Upstream  # what it needs is large, and only a proxy needs it

    class Requests:
        """Sends a stored request to the upstream."""

        def __init__(self) -> None:
            self._upstream = Upstream(plan.upstream)

        async def __call__(
            self, request: dict[str, Any], body: File | None = None, secrets: File | None = None
        ) -> File:
            head = _read(request, secrets)
            directory = scratch.get()
            assert directory is not None
            response = ResponseFile(Path(directory, "response"), plan.result_bytes_max)
            try:
                return await self._upstream.respond(head, body and body.path, response)
            finally:
                response.close()

    return Requests


def _read(request: dict[str, Any], secrets: File | None) -> Head:
    return whole(request, secrets.read_bytes() if secrets else b"")
