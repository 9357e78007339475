"""`offload wrap`: an existing WSGI or ASGI application, whose slow requests become tasks."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from offload.cli import serve
from offload.cli.settings_flags import add_settings_flags, read_settings
from offload.settings import Settings

if TYPE_CHECKING:
    from offload.compose import Node

HELP = "serve an existing web application; its slow requests become tasks"
DESCRIPTION = """\
Serve an existing web application (Flask, Django, FastAPI, Starlette: any WSGI or ASGI application) as it is.

A request with `Prefer: respond-async`, or to a route given with --slow, is stored and answered with 202 and the address
of its task. It runs later in one of --workers processes, and what the application answers is the task's result, at
/v1/tasks/{id}/result. Every other request goes to the application at once, and its answer comes back unchanged."""
EXAMPLES = """\
examples:
  offload wrap shop.web:app                          requests with Prefer: respond-async become tasks
  offload wrap shop.py:app --slow /report --slow 'POST /render/*=2'
  offload wrap mysite.wsgi:application --port 0 --workers 4
  offload wrap 'shop.web:make_app()' --prefix /offload
  offload wrap shop.web:app --no-workers --store postgresql://offload@db/offload    see `offload work --wrap`
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", metavar="MODULE:APP", help="package.module:app, file.py:app or module:make_app()")
    serve.add_no_workers(parser)
    add_settings_flags(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    from offload.telemetry import configure_logging
    from offload.wrap import starting
    from offload.wrap.apps.loaded import load_app, speaks_asgi

    settings = starting.settings_for(settings, app=options.app)
    configure_logging(settings, sys.stderr)
    with serve.address_output():
        app = load_app(options.app)
        speaks_asgi(app)

    @contextlib.asynccontextmanager
    async def dress(node: "Node") -> AsyncIterator[serve.Front]:
        config = starting.http_config(node.http)
        async with starting.started(app) as direct:
            yield serve.Front(starting.front(node, direct, config), config, hints(settings))

    return serve_dressed(settings, dress)


def serve_dressed(settings: Settings, dress: serve.Dress) -> int:
    """Serve until a signal comes."""
    from offload.http.server import new_event_loop

    with serve.address_output() as output, contextlib.closing(serve.listener_of(settings)) as listener:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(serve.serve_node(settings, listener, output, dress))


def hints(settings: Settings) -> tuple[str, ...]:
    """Return what is said when it serves."""
    always = f"always tasks: {', '.join(settings.slow)}" if settings.slow else "no route is always a task: see --slow"
    return (always, f"tasks: {{url}}{settings.prefix}/v1/tasks", "try: curl -i -H 'Prefer: respond-async' {url}/")
