"""`offload queues`: how full and how fast the queues are; pausing and resuming them."""

import argparse

from offload.cli.server_flags import add_server_flags, connect
from offload.cli.shown import as_json, say, size_text, table
from offload.client import QueueState

HELP = "list, pause and resume queues"
DESCRIPTION = "List the queues of a server, or stop and start running the tasks of one. Accepting tasks goes on."
EXAMPLES = """\
examples:
  offload queues
  offload queues pause images
  offload queues resume images
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "pause", "resume"), default="list", help="default: list")
    parser.add_argument("queue", nargs="?", help="the queue to pause or resume")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_server_flags(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if (options.action == "list") != (options.queue is None):
        options.parser.error("list takes no queue" if options.queue else f"which queue to {options.action}?")
    with connect(options) as client:
        if options.action == "list":
            found = client.queues()
        else:
            found = [client.pause(options.queue) if options.action == "pause" else client.resume(options.queue)]
    say(as_json(found) if options.json else table(_HEAD, [_row(queue) for queue in found]))
    return 0


_HEAD = ("queue", "state", "waiting", "running", "held", "room for", "oldest waits", "done/s", "jobs")


def _row(queue: QueueState) -> tuple[str, ...]:
    room = "" if queue.tasks_max is None else f"{max(0, queue.tasks_max - queue.tasks):,}"
    oldest = "" if queue.oldest_wait_seconds is None else f"{queue.oldest_wait_seconds:.0f} s"
    rate = "" if queue.completions_per_second is None else f"{queue.completions_per_second:.2f}"
    held = (f"{queue.queued:,}", f"{queue.running:,}", size_text(queue.bytes))
    return (queue.name, queue.state, *held, room, oldest, rate, ", ".join(queue.jobs))
