"""`offload tasks`: find tasks, look at them, and steer them."""

import argparse
import itertools
from collections.abc import Callable

from offload.cli.server_flags import add_server_flags, connect
from offload.cli.shown import as_json, local_time, say, size_text, table, tell
from offload.client import Client, RemoteTask
from offload.core.errors import OffloadError
from offload.core.plain import plain_line

HELP = "list, show, cancel, retry and delete tasks; read their logs"
DESCRIPTION = "Find the tasks of a server, look at them, and steer them."
EXAMPLES = """\
examples:
  offload tasks list --job resize --status FAILED
  offload tasks show 8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34
  offload tasks logs 8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34
  offload tasks list --status FAILED --ids | xargs offload tasks retry
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="tasks, newest first", description="List tasks, newest first.")
    listing.add_argument("--job", help="only tasks of this job")
    listing.add_argument("--queue", help="only tasks of this queue")
    listing.add_argument("--status", help="only these, as in FAILED or QUEUED,RUNNING")
    listing.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="only tasks with this tag")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)")
    listing.add_argument("--ids", action="store_true", help="print nothing but ids")
    _finish(listing, _list, prints_json=True)
    show = actions.add_parser("show", help="everything about one task", description="Show one task.")
    show.add_argument("id", help="the task's id")
    _finish(show, _show, prints_json=True)
    for name, words, verb in _VERBS:
        each = actions.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
        each.add_argument("ids", nargs="+", metavar="ID", help="the tasks' ids")
        each.set_defaults(verb=verb)
        _finish(each, _steer, prints_json=False)
    logs = actions.add_parser("logs", help="what a task printed and logged", description="Print a task's logs.")
    logs.add_argument("id", help="the task's id")
    _finish(logs, _logs, prints_json=False)


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], *, prints_json: bool) -> None:
    if prints_json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    add_server_flags(parser)
    parser.set_defaults(run=run, parser=parser)


def _list(options: argparse.Namespace) -> int:
    tags = {}
    for tag in options.tag:
        key, equals, value = tag.partition("=")
        if not equals:
            options.parser.error(f"--tag {tag}: write KEY=VALUE")
        tags[key] = value
    with connect(options) as client:
        found = client.find(
            job=options.job, queue=options.queue, status=options.status and options.status.upper(), tags=tags
        )
        tasks = list(itertools.islice(found, options.limit))
    if options.json:
        say(as_json(tasks))
    elif options.ids:
        say("\n".join(task.id for task in tasks)) if tasks else None
    else:
        say(table(("id", "job", "status", "attempt", "created", "what"), [_row(task) for task in tasks]))
    return 0


def _show(options: argparse.Namespace) -> int:
    with connect(options) as client:
        task = client.get(options.id)
    if options.json:
        say(as_json(task))
        return 0
    for name, text in _lines(task):
        if text:
            say(f"{name:<12}{text}")
    if task.error is not None and task.error.traceback:
        say(task.error.traceback.rstrip())
    return 0


def _logs(options: argparse.Namespace) -> int:
    with connect(options) as client:
        say(client.logs(options.id).rstrip("\n"))
    return 0


def _steer(options: argparse.Namespace) -> int:
    """Do one thing to several tasks; one that cannot be done does not keep the others from it."""
    failed = False
    with connect(options) as client:
        for task_id in options.ids:
            try:
                say(f"{task_id}  {options.verb(client, task_id)}")
            except OffloadError as error:
                if len(options.ids) == 1:
                    raise
                tell(f"offload: {error}")
                failed = True
    return 1 if failed else 0


def _cancel(client: Client, task_id: str) -> str:
    task = client.cancel(task_id)
    return "CANCELED" if task.final else "is being stopped"


def _retry(client: Client, task_id: str) -> str:
    return client.retry(task_id).status


def _delete(client: Client, task_id: str) -> str:
    client.delete(task_id)
    return "DELETED"


_VERBS = (
    ("cancel", "cancel tasks; running ones are told to stop, then stopped", _cancel),
    ("retry", "give tasks that FAILED or were CANCELED one more attempt", _retry),
    ("delete", "drop the input, result, logs and files of tasks", _delete),
)


def _row(task: RemoteTask) -> tuple[str, ...]:
    return (
        task.id,
        task.job,
        task.status,
        f"{task.attempt}/{task.max_attempts}",
        local_time(task.created_at),
        _what(task),
    )


def _what(task: RemoteTask) -> str:
    if task.error is not None and task.status in ("FAILED", "QUEUED"):
        return f"{task.reason or 'failed'}: {task.error.type}: {task.error.message}"
    if task.reason is not None:
        return task.reason
    if task.progress is not None:
        fraction = "" if task.progress.fraction is None else f"{task.progress.fraction:.0%} "
        return fraction + task.progress.message
    if task.result_type is not None:
        return f"{task.result_type}, {size_text(task.result_size)}"
    return "" if task.position is None else f"{task.position} ahead"


def _lines(task: RemoteTask) -> list[tuple[str, str]]:
    failed = "" if task.error is None else plain_line(f"{task.error.type}: {task.error.message}")
    return [
        ("id", task.id),
        ("job", f"{task.job} in queue {task.queue}"),
        ("status", task.status + (f", {task.reason}" if task.reason else "")),
        ("attempt", f"{task.attempt} of {task.max_attempts}"),
        ("priority", str(task.priority) if task.priority else ""),
        ("progress", _what(task) if task.status in ("QUEUED", "RUNNING") else ""),
        ("created", local_time(task.created_at)),
        ("run at", local_time(task.run_at) if task.status == "QUEUED" else ""),
        ("started", local_time(task.started_at)),
        ("finished", local_time(task.finished_at)),
        ("kept until", local_time(task.expires_at)),
        ("tags", ", ".join(f"{key}={value}" for key, value in task.tags.items())),
        ("input", "" if task.input is None else as_json(task.input)),
        ("result", as_json(task.result) if task.result is not None else _file(task)),
        ("error", failed),
    ]


def _file(task: RemoteTask) -> str:
    return "" if task.result_type is None else f"{task.result_type}, {size_text(task.result_size)}"
