"""`offload work`: a node without the HTTP interface, which runs what other nodes accept."""

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, TextIO

from offload.cli import serve
from offload.cli.settings_flags import add_settings_flags, read_settings
from offload.core.errors import WrongSetting
from offload.settings import Settings

HELP = "run the tasks that other nodes of the same store accept"
DESCRIPTION = """\
Run the tasks of a store that is shared with servers, which were started with `offload serve` and the same jobs, store
and blobs. Any number of such nodes may come and go. For servers that were started with `offload wrap` or
`offload proxy` say --wrap or --proxy, and the same --slow and --prefix.

The first line of standard output says the node's name; with --port the next says where /healthz, /readyz and /metrics
are. SIGTERM and Ctrl-C stop in good order, as with `offload serve`."""
EXAMPLES = """\
examples:
  offload work jobs.py --store postgresql://offload@db/offload --blobs s3://bucket/prefix
  offload work jobs.py --store postgresql://offload@db/offload --queues images,video --workers 8
  offload work jobs.py --store postgresql://offload@db/offload --port 9000      health and metrics on 127.0.0.1:9000
  offload work --wrap shop.web:app --slow /report --store postgresql://offload@db/offload
"""

log = logging.getLogger("offload.work")

if TYPE_CHECKING:  # a mistake in the settings is told before this is loaded
    from starlette.types import ASGIApp


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", metavar="FILE_OR_MODULE", nargs="?", help="jobs.py or package.module")
    parser.add_argument(
        "--queues", metavar="NAMES", dest="set_only_queues", default=argparse.SUPPRESS, help="short for --only-queues"
    )
    parser.add_argument("--wrap", metavar="MODULE:APP", help="run requests to this application, as `offload wrap` does")
    parser.add_argument("--proxy", metavar="URL", help="send requests to this application, as `offload proxy` does")
    add_settings_flags(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = _with_jobs(read_settings(options), options)
    if settings.workers == 0:
        raise WrongSetting("workers: 0 leaves nothing to do for a node that only works; say how many")
    _refuse_file(settings)
    from offload.http.server import new_event_loop
    from offload.telemetry import configure_logging

    configure_logging(settings, sys.stderr)
    with serve.address_output() as output, contextlib.ExitStack() as stack:
        listener = None
        if "port" in settings.sources:
            listener = stack.enter_context(contextlib.closing(serve.listener_of(settings)))
        runner = stack.enter_context(asyncio.Runner(loop_factory=new_event_loop))
        return runner.run(_work(settings, listener, output))


def _with_jobs(settings: Settings, options: argparse.Namespace) -> Settings:
    """Return the settings with the jobs that this node runs. Raise WrongSetting."""
    named = [name for name in (options.jobs, options.wrap, options.proxy) if name]
    if len(named) > 1 or (settings.celery and (options.wrap or options.proxy)):
        raise WrongSetting("which jobs? a node works for one: a file of jobs, --wrap MODULE:APP or --proxy URL")
    if options.wrap or options.proxy:
        return _with_requests(settings, options.wrap or "", options.proxy or "")
    if not settings.jobs and not settings.celery:
        raise WrongSetting(
            "which jobs? name their file or module, as in: offload work jobs.py --store postgresql://…; "
            "or what `offload wrap` serves, as in: offload work --wrap shop.web:app --store postgresql://…"
        )
    return settings


def _with_requests(settings: Settings, app: str, upstream: str) -> Settings:
    _refuse_file(settings)
    from offload.wrap import starting
    from offload.wrap.apps.loaded import load_app, speaks_asgi

    if upstream:
        from offload.wrap.apps.upstream import check_upstream

        return starting.settings_for(settings, upstream=check_upstream(upstream))
    with serve.address_output():
        speaks_asgi(load_app(app))  # a mistake in it is told before anything starts
    return starting.settings_for(settings, app=app)


async def _work(settings: Settings, listener: socket.socket | None, output: TextIO) -> int:
    """Work until a signal comes."""
    from offload import compose

    stop, closing = asyncio.Event(), asyncio.Event()
    serve.listen_for_signals(stop)
    async with compose.node(settings, os.environ, serves=False) as node:
        engine = node.engine
        print(f"offload working as {engine.parts.node}", file=output, flush=True)
        serving = None
        if listener is not None:
            serving = asyncio.create_task(_serve_health(settings, node.app, listener, closing, output))
        log.info("jobs: %s", ", ".join(engine.parts.workers.jobs()))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([stopping, *([serving] if serving else [])], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await engine.stop(settings.grace_seconds)
        closing.set()
        if serving is not None:
            await serving
    log.info("stopped")
    return 0


async def _serve_health(
    settings: Settings, app: "ASGIApp", listener: socket.socket, closing: asyncio.Event, output: TextIO
) -> None:
    from offload.http.server import serve as serve_http

    def ready(port: int) -> None:
        print(f"health at {serve.address(settings.host, port)}/readyz", file=output, flush=True)

    await serve_http(app, settings.host, settings.port, ready, closing, listener=listener, grace_seconds=1.0)


def _refuse_file(settings: Settings) -> None:
    """Raise WrongSetting, before anything is opened, when the store is a file: its server owns it."""
    from offload import crew, storage

    if storage.file_of(settings) is not None:
        raise WrongSetting(f"store: {crew.ALONE}")
