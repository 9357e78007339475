"""`offload schedules`: what recurs on a server; and when a cron expression is due, without one."""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from offload.cli.call import value_of
from offload.cli.server_flags import add_server_flags, connect
from offload.cli.shown import as_json, local_time, say, table
from offload.client import RemoteSchedule
from offload.core.quantities import show_seconds
from offload.core.recurrence import CATCH_UPS, read_recurrence
from offload.core.zones import zone_of

HELP = "list, make, pause and delete schedules; say when a cron expression is due"
DESCRIPTION = (
    "See and change what recurs on a server: jobs that run at the times of a cron expression, or at intervals."
)
EXAMPLES = """\
examples:
  offload schedules list
  offload schedules put nightly report --cron '30 2 * * *' --timezone Europe/Berlin days=7
  offload schedules put poll fetch_mail --every 5m --catch-up skip
  offload schedules pause nightly
  offload schedules next '30 2 * * mon-fri' --timezone Europe/Berlin
"""
_HEAD = ("name", "job", "due", "next", "last", "status", "fired", "missed", "state")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _finish(actions.add_parser("list", help="every schedule, by name", description="List schedules, by name."), _list)
    for name, run, said in (
        ("show", _show, "all that is known of one"),
        ("pause", _pause, "make no more tasks of one"),
        ("resume", _resume, "let one make tasks again, from now on"),
        ("delete", _delete, "forget one; its tasks stay"),
    ):
        one = actions.add_parser(name, help=said, description=said[0].upper() + said[1:] + ".")
        one.add_argument("name", metavar="NAME", help="the schedule's name")
        _finish(one, run)
    put = actions.add_parser("put", help="make one, or change it", description="Make a schedule, or change all of it.")
    put.add_argument("name", metavar="NAME", help="lower-case letters, digits, _ and -")
    put.add_argument("job", metavar="JOB", help="the job that it runs")
    put.add_argument("inputs", metavar="name=value", nargs="*", default=[], help="a parameter of the job")
    _when(put)
    put.add_argument("--catch-up", choices=CATCH_UPS, help="which due times that passed unnoticed still make tasks")
    put.add_argument("--priority", metavar="N", type=int, help="-100 to 100, higher runs first")
    put.add_argument("--deadline", metavar="SECONDS", type=float, help="fail when not started by then")
    put.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="for finding its tasks")
    put.add_argument("--callback", metavar="URL", help="where to tell of its tasks")
    put.add_argument("--paused", action="store_true", help="make it, and make no tasks yet")
    _finish(put, _put)
    following = actions.add_parser(
        "next", help="when a cron expression is due", description="Say when a cron expression is due. Asks no server."
    )
    following.add_argument("cron", metavar="CRON", help="five fields, as in '30 2 * * mon-fri'")
    following.add_argument("--timezone", metavar="ZONE", help="such as Europe/Berlin (default: UTC)")
    following.add_argument("--count", type=int, default=5, metavar="N", help="how many times (default: 5)")
    following.add_argument("--json", action="store_true", help="print JSON")
    following.add_argument("--debug", action="store_true", help="show the traceback of an error")
    following.set_defaults(run=_next, parser=following)


def _when(parser: argparse.ArgumentParser) -> None:
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--cron", metavar="CRON", help="five fields: minute, hour, day of month, month, day of week")
    when.add_argument("--every", metavar="DURATION", help="an interval, as in 30s, 5m or 1h")
    parser.add_argument("--timezone", metavar="ZONE", help="of --cron, such as Europe/Berlin (default: UTC)")


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    add_server_flags(parser)
    parser.set_defaults(run=run, parser=parser)


def _list(options: argparse.Namespace) -> int:
    with connect(options) as client:
        found = list(client.schedules.list())
    say(as_json(found) if options.json else table(_HEAD, [_row(each) for each in found]))
    return 0


def _show(options: argparse.Namespace) -> int:
    with connect(options) as client:
        return _said(options, client.schedules.get(options.name))


def _pause(options: argparse.Namespace) -> int:
    with connect(options) as client:
        return _said(options, client.schedules.pause(options.name))


def _resume(options: argparse.Namespace) -> int:
    with connect(options) as client:
        return _said(options, client.schedules.resume(options.name))


def _delete(options: argparse.Namespace) -> int:
    with connect(options) as client:
        client.schedules.delete(options.name)
    say(as_json({"name": options.name, "deleted": True}) if options.json else f"{options.name} deleted")
    return 0


def _put(options: argparse.Namespace) -> int:
    input = {name: value_of(text) for name, text in _pairs(options, options.inputs).items()}
    with connect(options) as client:
        made = client.schedules.put(
            options.name,
            options.job,
            input,
            cron=options.cron,
            every=options.every,
            timezone=options.timezone,
            catch_up=options.catch_up or "last",
            priority=options.priority,
            tags=_pairs(options, options.tag),
            callback=options.callback,
            deadline=options.deadline,
            paused=options.paused,
        )
    return _said(options, made)


def _next(options: argparse.Namespace) -> int:
    recurrence = read_recurrence(cron=options.cron, timezone=options.timezone)
    if not 1 <= options.count <= 1000:
        options.parser.error("--count is from 1 to 1000")
    zone = zone_of(recurrence.timezone)
    times = recurrence.next_times(time.time(), 0.0, options.count)
    if options.json:
        say(as_json([datetime.fromtimestamp(at, UTC) for at in times]))
        return 0
    for at in times:
        say(f"{datetime.fromtimestamp(at, zone):%Y-%m-%d %H:%M %Z, %a}   {datetime.fromtimestamp(at, UTC):%H:%M} UTC")
    return 0


def _said(options: argparse.Namespace, found: RemoteSchedule) -> int:
    say(as_json(found) if options.json else table(("", ""), _lines(found)).partition("\n")[2])
    return 0


def _pairs(options: argparse.Namespace, words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name or name in found:
            options.parser.error(f"{word!r}: " + ("is given twice" if name in found else "write name=value"))
        found[name] = text
    return found


def _when_due(found: RemoteSchedule) -> str:
    if found.cron is not None:
        return f"{found.cron} {found.timezone}"
    return f"every {show_seconds(found.every or 0.0)}"


def _state(found: RemoteSchedule) -> str:
    return "paused" if found.paused else found.trouble or ("declared" if found.declared else "active")


def _row(found: RemoteSchedule) -> tuple[str, ...]:
    last = found.last
    times = (local_time(found.next[0] if found.next else None), local_time(last.due_at if last else None))
    counts = (str(found.fired), str(found.missed))
    status = (last.status or "gone") if last else ""
    return (found.name, found.job, _when_due(found), *times, status, *counts, _state(found))


def _lines(found: RemoteSchedule) -> list[tuple[str, str]]:
    last: Any = found.last
    return [
        ("name", found.name),
        *([("owner", found.owner)] if found.owner else []),
        ("job", found.job),
        ("due", _when_due(found)),
        ("state", _state(found)),
        ("catch-up", found.catch_up),
        ("next", ", ".join(local_time(at) for at in found.next[:3])),
        ("last", f"{local_time(last.due_at)}  {last.task}  {last.status or 'gone'}" if last else ""),
        ("made", f"{found.fired} tasks; {found.missed} due times missed"),
    ]
