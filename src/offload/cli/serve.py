"""`offload serve`: one node, from its settings to its orderly end."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NamedTuple, TextIO

from offload.cli import reload
from offload.cli.settings_flags import add_settings_flags, read_settings
from offload.core.errors import WrongSetting
from offload.settings import Settings

HELP = "serve the jobs of a file or module over HTTP"
DESCRIPTION = """\
Serve the jobs of a file or module over HTTP, and run them in worker processes.

The first line of standard output is the address; everything else is told on standard error. SIGTERM and Ctrl-C stop
in good order: running tasks may end within grace_seconds, the others are given back and run when the server is there
again. A second Ctrl-C stops at once; tasks that were running are started again next time."""
EXAMPLES = """\
examples:
  offload serve jobs.py
  offload serve jobs.py --port 0 --workers 4 --data /var/lib/offload
  offload serve package.module --reload              start again when a file beside it changes
  OFFLOAD_QUEUE_TASKS_MAX=500 offload serve jobs.py
  offload serve jobs.py --no-workers --store postgresql://offload@db/offload
  offload serve --celery proj.app                    the tasks of a Celery application; its workers run them
"""
HTTP_GRACE_SECONDS = 5.0
"""How long answers under way may take once all tasks have ended."""

log = logging.getLogger("offload.serve")

if TYPE_CHECKING:  # a mistake in the settings is told before these are loaded
    from starlette.types import ASGIApp

    from offload.compose import Node
    from offload.http.config import HttpConfig


class Front(NamedTuple):
    """What is served over a node, and what is said when it is; `{url}` stands for its address."""

    app: "ASGIApp"
    config: "HttpConfig"
    hints: tuple[str, ...]


Dress = Callable[["Node"], AbstractAsyncContextManager[Front]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("jobs", metavar="FILE_OR_MODULE", nargs="?", help="jobs.py or package.module")
    parser.add_argument("--reload", action="store_true", help="for development: start again when a file changes")
    add_no_workers(parser)
    parser.add_argument(reload.INHERIT_FLAG, dest="inherit", type=int, help=argparse.SUPPRESS)
    add_settings_flags(parser)
    parser.set_defaults(run=run)


def add_no_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-workers", action="store_const", const="0", dest="set_workers", default=argparse.SUPPRESS,
        help="short for --workers 0: only accept and answer; nodes started with `offload work` run the tasks",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    if not settings.jobs and not settings.celery:
        raise WrongSetting("which jobs? name their file or module, as in: offload serve jobs.py")
    # heavy imports come after the settings, so that a mistake in them is told at once
    from offload.http.server import new_event_loop
    from offload.telemetry import configure_logging

    configure_logging(settings, sys.stderr)
    with address_output() as output:
        inherited = options.inherit is not None
        listener = socket.socket(fileno=options.inherit) if inherited else listener_of(settings)
        with contextlib.closing(listener):
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                if options.reload:
                    return runner.run(reload.supervise(sys.argv[1:], settings, listener, output))
                return runner.run(serve_node(settings, listener, output, _as_it_is, orphans_stop=inherited))


def listener_of(settings: Settings) -> socket.socket:
    """Return a socket on the address in the settings. Raise WrongSetting; without keys only loopback will do."""
    from offload import storage
    from offload.http.server import listen

    return listen(settings.host, settings.port, has_keys=storage.has_keys(settings))


@contextlib.asynccontextmanager
async def _as_it_is(node: "Node") -> AsyncIterator[Front]:
    names = list(node.catalog.jobs)
    yield Front(node.app, node.http, (f"jobs: {', '.join(names)}", "reference: {url}/docs",
                f"try: offload call {names[0]} --url {{url}}    stop: Ctrl-C"))  # fmt: skip


async def serve_node(
    settings: Settings, listener: socket.socket, output: TextIO, dress: Dress, *, orphans_stop: bool = False
) -> int:
    """Serve a node, behind the front that `dress` makes for it, until a signal comes."""
    from offload import compose
    from offload.http.server import serve

    stop, closing = asyncio.Event(), asyncio.Event()
    listen_for_signals(stop)
    if orphans_stop:
        _stop_without_parent(stop)

    def ready(port: int) -> None:
        url = address(settings.host, port)
        print(f"offload serving at {url}", file=output, flush=True)
        for hint in front.hints:
            log.info(hint.replace("{url}", url))

    async with compose.node(settings, os.environ) as node, dress(node) as front:
        serving = asyncio.create_task(
            serve(
                front.app,
                settings.host,
                settings.port,
                ready,
                closing,
                config=front.config,
                grace_seconds=HTTP_GRACE_SECONDS,
                listener=listener,
            )
        )
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        # while tasks end, their clients are still answered
        await node.engine.stop(settings.grace_seconds)
        closing.set()
        await serving
    log.info("stopped")
    return 0


def address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen_for_signals(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM and on the first Ctrl-C; the second ends the process."""
    loop = asyncio.get_running_loop()
    interrupts = 0

    def interrupted() -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            log.warning("stopped at once; tasks that were running are started again next time")
            sys.stderr.flush()
            os._exit(130)  # what was accepted is on disk, and workers end with their server
        asked("Ctrl-C", "; again stops at once")

    def asked(by: str, hint: str = "") -> None:
        if not stop.is_set():
            log.info("stopping on %s%s: running tasks may end, the others are given back", by, hint)
        stop.set()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    loop.add_signal_handler(signal.SIGTERM, asked, "SIGTERM")


def _stop_without_parent(stop: asyncio.Event) -> None:
    """Stop when the process that reloads us has died: our standard input is a pipe from it."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, ended)


@contextlib.contextmanager
def address_output() -> Iterator[TextIO]:
    """Keep standard output for the address: what a file prints when it is imported goes to standard error."""
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield output
