"""Reads the command line, runs the command, and turns what went wrong into a message and an exit code."""

import argparse
import contextlib
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from offload.cli.shown import tell
from offload.core.errors import OffloadError
from offload.settings import did_you_mean

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
WRONG_USE_CODES = frozenset({
    "WrongSetting", "CannotLoadJobs", "WrongJob", "WrongInput", "WrongValue", "WrongTaskIdFormat",
    "WrongJobDefinitionValue", "JobDoesNotExist", "QueueDoesNotExist", "NotAvailable", "AddressRefused",
    "WrongSchedule", "ScheduleDoesNotExist", "ScheduleIsDeclared",
})  # fmt: skip

_DESCRIPTION = "Turns slow functions into dependable HTTP services."
_EXAMPLES = """\
examples:
  offload check jobs.py                              are the jobs right? starts nothing
  offload serve jobs.py                              serve them on http://127.0.0.1:8000
  offload call resize -F image=@cat.jpg width=320 -o small.jpg
  offload wrap shop.web:app --slow /report           a web application whose slow requests become tasks
  offload tasks list --status FAILED                 what went wrong lately
  offload settings                                   every setting, its value and where it comes from

`offload COMMAND --help` says more. Exit codes: 0, 1 the work failed, 2 wrong use.
"""


class Parser(argparse.ArgumentParser):
    """Says what is close when a flag or command is unknown."""

    def error(self, message: str) -> NoReturn:
        raise WrongUse(self._helpful(message), f"`{self.prog} --help` says what there is")

    def _helpful(self, message: str) -> str:
        if found := re.search(r"argument COMMAND: invalid choice: '([^']*)'", message):
            return f"there is no command {found[1]!r}{did_you_mean(found[1], COMMANDS)}"
        return message

    def unknown(self, flag: str) -> NoReturn:
        name = flag.partition("=")[0]
        close = did_you_mean(name, self._option_string_actions)
        raise WrongUse(f"there is no flag {name}{close}", f"`{self.prog} --help` says what there is")


class WrongUse(Exception):
    """The command line means nothing; `hint` says where to look."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


COMMANDS = {
    "serve": "serve", "work": "work", "wrap": "wrap", "proxy": "proxy", "call": "call", "tasks": "tasks",
    "queues": "queues", "nodes": "nodes", "schedules": "schedules", "callbacks": "callbacks", "keys": "keys",
    "migrate": "migrate", "check": "check", "settings": "settings_shown", "version": "version",
}  # fmt: skip
"""The module of each."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        with _quiet_pipe():
            options = parse(given)
            found: int = options.run(options)
            sys.stdout.flush()
            return found
    except WrongUse as error:
        tell(f"offload: {error}\n{error.hint}")
        return WRONG_USE
    except KeyboardInterrupt:
        tell("offload: interrupted")
        return INTERRUPTED
    except (OffloadError, OSError) as error:
        if "--debug" in given:
            traceback.print_exc()
        return _told(error)


def parse(given: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="offload", description=_DESCRIPTION, epilog=_EXAMPLES, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.set_defaults(run=None, words=[])
    every = Parser(add_help=False, allow_abbrev=False)
    every.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    # a command loads what it needs, and not what others need: that is half of the time in which a server starts
    for name in [given[0]] if given and given[0] in COMMANDS else COMMANDS:
        module = module_of(name)
        added = commands.add_parser(
            name, help=module.HELP, description=module.DESCRIPTION, epilog=module.EXAMPLES, parents=[every],
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        added.set_defaults(parser=added)
        module.add_arguments(added)
    options, rest = parser.parse_known_args(given)
    if options.run is None:
        parser.print_help(sys.stderr)
        raise SystemExit(WRONG_USE)
    for word in rest:
        if word.startswith("-") or not hasattr(options, "inputs"):
            options.parser.unknown(word) if word.startswith("-") else options.parser.error(f"{word!r} is too much")
        options.inputs.append(word)  # argparse does not take words after flags into a list of words
    return options


def module_of(command: str) -> ModuleType:
    """Load what a command is made of."""
    return import_module(f"offload.cli.{COMMANDS[command]}")


def _told(error: OffloadError | OSError) -> int:
    """Say what went wrong and return the exit code."""
    if isinstance(error, OffloadError):
        tell(f"offload: {error}")
        return WRONG_USE if error.code in WRONG_USE_CODES else FAILED
    named = error.filename and error.strerror
    tell(f"offload: {error.filename}: {error.strerror}" if named else f"offload: {error}")
    return FAILED


@contextlib.contextmanager
def _quiet_pipe() -> Iterator[None]:
    """End without a word when whoever reads our output has gone, as with `| head`."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(FAILED) from None
