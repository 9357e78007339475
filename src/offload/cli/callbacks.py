"""`offload callbacks`: what was sent and what waits; sending again; trying a URL; the secret that signs."""

import argparse
import itertools
from collections.abc import Callable

from offload.cli.server_flags import add_server_flags, connect
from offload.cli.shown import as_json, local_time, say, table, tell
from offload.client import SentCallback

HELP = "list, replay and test callbacks; show and rotate their secret"
DESCRIPTION = "See which callbacks a server has sent, send them again, try a receiver, and manage what signs them."
EXAMPLES = """\
examples:
  offload callbacks list --state GIVEN_UP
  offload callbacks list --task 8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34
  offload callbacks replay msg_8c0f4c7e3b1d4f6a9e2b5d7a1c9e0f34_3
  offload callbacks test https://example.com/hooks/offload
  offload callbacks secret --rotate
"""
_HEAD = ("id", "type", "state", "tries", "last", "due", "url")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="callbacks, newest first", description="List callbacks, newest first.")
    listing.add_argument("--task", metavar="ID", help="only those of this task")
    listing.add_argument("--state", help="only these: PENDING, DELIVERED or GIVEN_UP")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)")
    _finish(listing, _list)
    replay = actions.add_parser("replay", help="send one again", description="Send a callback again, from the start.")
    replay.add_argument("id", help="the callback's id, as in msg_…")
    _finish(replay, _replay)
    test = actions.add_parser(
        "test", help="send a signed test to a URL", description="Have the server send a signed callback.test to a URL."
    )
    test.add_argument("receiver", metavar="URL", help="where to send it")
    _finish(test, _test)
    secret = actions.add_parser(
        "secret", help="what signs your callbacks", description="Print the secret that signs your callbacks."
    )
    secret.add_argument("--rotate", action="store_true", help="make a new one first; the old one is valid for a day")
    _finish(secret, _secret)


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    add_server_flags(parser)
    parser.set_defaults(run=run, parser=parser)


def _list(options: argparse.Namespace) -> int:
    with connect(options) as client:
        found = client.callbacks(options.task, state=options.state and options.state.upper())
        some = list(itertools.islice(found, options.limit))
    say(as_json(some) if options.json else table(_HEAD, [_row(each) for each in some]))
    return 0


def _replay(options: argparse.Namespace) -> int:
    with connect(options) as client:
        found = client.replay_callback(options.id)
    say(as_json(found) if options.json else f"{found.id}  {found.state}")
    return 0


def _test(options: argparse.Namespace) -> int:
    with connect(options) as client:
        found = client.test_callback(options.receiver)
    if options.json:
        say(as_json(found))
    elif found.error is not None:
        tell(f"offload: {found.error}")
    else:
        say(f"{found.status_code} in {found.latency_seconds:.3f} s  {found.answer[:200]}".rstrip())
    return 0 if found.status_code is not None and 200 <= found.status_code < 300 else 1


def _secret(options: argparse.Namespace) -> int:
    with connect(options) as client:
        found = client.callback_secret(rotate=options.rotate)
    if options.json:
        say(as_json(found))
        return 0
    say(found.secret)
    for each in found.previous:
        tell(f"the one before, {each.secret}, signs too until {local_time(each.valid_until)}")
    return 0


def _row(found: SentCallback) -> tuple[str, ...]:
    last = found.last
    went = "" if last is None else str(last.status_code or (last.error or "").partition(":")[0])
    return (found.id, found.type, found.state, str(found.tries), went, local_time(found.due_at), found.url)
