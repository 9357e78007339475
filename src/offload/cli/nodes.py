"""`offload nodes`: who serves and works on the store of a server."""

import argparse

from offload.cli.server_flags import add_server_flags, connect
from offload.cli.shown import as_json, say, table
from offload.client import NodeDescription

HELP = "list the nodes that share the server's store"
DESCRIPTION = "List the nodes that share the store of a server: those there now, and those seen in the last hour."
EXAMPLES = """\
examples:
  offload nodes
  offload nodes --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_server_flags(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    with connect(options) as client:
        found = client.nodes()
    say(as_json(found) if options.json else table(_HEAD, [_row(node) for node in found]))
    return 0


_HEAD = ("node", "state", "serves", "workers", "running", "queues", "seen", "version")


def _row(node: NodeDescription) -> tuple[str, ...]:
    state = "gone" if not node.present else "stopping" if node.stopping else "there"
    seen = node.seen_at.strftime("%Y-%m-%d %H:%M:%S")
    serves = "yes" if node.serves else "no"
    return (node.name, state, serves, str(node.workers), str(node.running), ", ".join(node.queues), seen, node.version)
