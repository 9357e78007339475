"""`offload proxy`: any web application behind this server, whose slow requests become tasks."""

import argparse
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from offload.cli import serve
from offload.cli.settings_flags import add_settings_flags, read_settings
from offload.cli.wrap import hints, serve_dressed

if TYPE_CHECKING:
    from offload.compose import Node

HELP = "stand in front of a web application; its slow requests become tasks"
DESCRIPTION = """\
Stand in front of a web application in any language and pass requests on to it.

A request with `Prefer: respond-async`, or to a route given with --slow, is stored and answered with 202 and the address
of its task. It is sent to the application later, at most --workers at a time, and what comes back is the task's result,
at /v1/tasks/{id}/result. Every other request goes through at once, and so does its answer."""
EXAMPLES = """\
examples:
  offload proxy http://127.0.0.1:5000
  offload proxy http://127.0.0.1:5000 --slow '/report/*' --workers 4
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("upstream", metavar="URL", help="the application's address, such as http://127.0.0.1:5000")
    serve.add_no_workers(parser)
    add_settings_flags(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    from offload.telemetry import configure_logging
    from offload.wrap import starting
    from offload.wrap.apps.upstream import Upstream
    from offload.wrap.proxy import Proxied

    upstream = Upstream(options.upstream)
    settings = starting.settings_for(settings, upstream=upstream.url)
    configure_logging(settings, sys.stderr)

    @contextlib.asynccontextmanager
    async def dress(node: "Node") -> AsyncIterator[serve.Front]:
        config = starting.http_config(node.http)
        async with contextlib.aclosing(upstream):
            yield serve.Front(starting.front(node, Proxied(upstream), config), config, hints(settings))

    return serve_dressed(settings, dress)
