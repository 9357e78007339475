"""`offload call`: run one job and print, or save, its result."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

from offload.cli.server_flags import add_server_flags, connect
from offload.cli.shown import as_json, say, size_text, tell
from offload.client import Options, ResultFile, Submitted
from offload.core.errors import OffloadError, TaskFailed, WrongInput
from offload.core.plain import plain_line

HELP = "run a job and print its result"
DESCRIPTION = """\
Run a job on a server, wait, and print its JSON result, or save its file result under its own name.

A value that looks like JSON is JSON (width=320, verbose=true, sizes=[1,2], name='"320"'), anything else is text.
The task goes on when you stop waiting with Ctrl-C; `offload tasks` finds it again."""
EXAMPLES = """\
examples:
  offload call primes limit=100000
  offload call resize -F image=@cat.jpg width=320 -o small.jpg
  offload call thumbnail_sheet -F images=@a.jpg -F images=@b.jpg
  cat cat.jpg | offload call resize -F image=@- width=320 -o - > small.jpg
  offload call report -F data=@sales.csv --no-wait
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="the name of the job; `offload check` lists them")
    parser.add_argument("inputs", metavar="name=value", nargs="*", default=[], help="a parameter of the job")
    parser.add_argument(
        "-F", dest="form", action="append", default=[], metavar="name=@file",
        help="a file as a parameter, @- is standard input; again for a list; without @ the value is text")  # fmt: skip
    parser.add_argument("-o", dest="output", metavar="FILE", help="write the result to this file; - is standard output")
    parser.add_argument("--no-wait", action="store_true", help="print the task's id and do not wait")
    parser.add_argument("--wait", metavar="SECONDS", type=float, help="give up waiting after so long; the task goes on")
    parser.add_argument("--priority", metavar="N", type=int, help="-100 to 100, higher runs first")
    parser.add_argument("--delay", metavar="SECONDS", type=float, help="do not start before")
    parser.add_argument("--deadline", metavar="SECONDS", type=float, help="fail when not started by then")
    parser.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="for finding the task again")
    parser.add_argument("--callback", metavar="URL", help="tell this URL of the end, as a signed POST")
    parser.add_argument(
        "--callback-body", choices=("event", "result"), help="send the task (the default) or the result itself"
    )
    parser.add_argument("--upload-to", metavar="URL", help="put the result there before the task is DONE")
    parser.add_argument("--idempotency-key", metavar="KEY", help="the same key makes the same task")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar, no remarks")
    add_server_flags(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    given = _input(options)
    wanted = _options(options)
    with connect(options) as client:
        try:
            task = client.submit(options.job, given, options=wanted)
        except WrongInput as error:
            return _wrong_input(error)
        if options.no_wait:
            say(task.id)
            return 0
        return _finish(task, options)


def _finish(task: Submitted, options: argparse.Namespace) -> int:
    bar = not options.quiet and sys.stderr.isatty()
    try:
        result = task.result(options.wait, progress=bar)
    except KeyboardInterrupt:
        tell(f"task {task.id} goes on; stop it with: offload tasks cancel {task.id}")
        raise
    except TaskFailed as error:
        return _failed(task, error)
    if isinstance(result, ResultFile):
        return _save(result, options)
    text = as_json(result) + "\n"
    if options.output in (None, "-"):
        sys.stdout.write(text)
    else:
        Path(options.output).write_text(text, "utf-8")
    return 0


def _save(result: ResultFile, options: argparse.Namespace) -> int:
    if options.output == "-":
        if sys.stdout.isatty() and not result.type.startswith("text/"):
            raise OffloadError(f"{result.name} is {result.type}, not for a terminal; use -o FILE")
        sys.stdout.buffer.write(result.read_bytes())
        return 0
    target = Path(options.output or result.name)
    if options.output is None:
        _claim(target)
    try:
        saved = result.save(target)
    except BaseException:
        if options.output is None:
            target.unlink()  # only the empty file that kept the name
        raise
    if options.quiet:
        return 0
    say(str(saved))
    tell(f"{result.type}, {size_text(saved.stat().st_size)}")
    return 0


def _claim(target: Path) -> None:
    """Make sure that a name that the server chose overwrites nothing."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        raise OffloadError(f"{target} is already there; say where to write with -o FILE") from None


def _input(options: argparse.Namespace) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for word in options.inputs:
        name, equals, text = word.partition("=")
        if not equals or not name:
            options.parser.error(f"{word!r}: write name=value; a file is -F name=@file")
        if name in given:
            options.parser.error(f"{name} is given twice; a list is {name}='[1, 2]'")
        given[name] = value_of(text)
    files: dict[str, list[Any]] = {}
    for word in options.form:
        name, equals, text = word.partition("=")
        if not equals or not name or name in given:
            options.parser.error(f"-F {word}: " + ("is given twice" if name in given else "write name=@file"))
        files.setdefault(name, []).append(_file(text))
    return {**given, **{name: found if len(found) > 1 else found[0] for name, found in files.items()}}


def value_of(text: str) -> Any:
    """Return the JSON that a text is, else the text."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _file(text: str) -> "Path | bytes | str | IO[bytes]":
    if not text.startswith("@"):
        return text
    if text == "@-":
        return sys.stdin.buffer.read()  # whole: a submission may have to be sent again
    path = Path(text[1:]).expanduser()
    with path.open("rb"):
        return path


def _options(options: argparse.Namespace) -> Options:
    given = Options(tags=_tags(options))
    if options.priority is not None:
        given["priority"] = options.priority
    if options.delay is not None:
        given["delay_seconds"] = options.delay
    if options.deadline is not None:
        given["deadline_seconds"] = options.deadline
    if options.callback_body is not None and options.callback is None:
        options.parser.error("--callback-body says what a callback sends; name its URL with --callback")
    if options.callback is not None:
        given["callback"] = {"url": options.callback, "body": options.callback_body or "event"}
    if options.upload_to is not None:
        given["upload_to"] = options.upload_to
    if options.idempotency_key is not None:
        given["idempotency_key"] = options.idempotency_key
    return given


def _tags(options: argparse.Namespace) -> Mapping[str, str]:
    tags = {}
    for tag in options.tag:
        key, equals, value = tag.partition("=")
        if not equals:
            options.parser.error(f"--tag {tag}: write KEY=VALUE")
        tags[key] = value
    return tags


def _wrong_input(error: WrongInput) -> int:
    """Say each mistake on a line."""
    tell(
        f"offload: {'; '.join(str(error).splitlines()[:1]) if not error.errors else 'the input does not fit the job:'}"
    )
    for mistake in error.errors:
        place = ".".join(str(part) for part in mistake.get("loc", ())) or "input"
        tell(f"  {place}: {plain_line(str(mistake.get('message', '')))}")
    return 2


def _failed(task: Submitted, error: TaskFailed) -> int:
    tell(f"offload: {error}")
    tell(f"its logs: offload tasks logs {task.id}")
    return 1
