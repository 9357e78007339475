"""`offload version`."""

import argparse
import platform
from importlib.metadata import version

from offload.cli.shown import say

HELP = "print the version"
DESCRIPTION = "Print the version of offload and of Python."
EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    say(f"offload {version('offload')} on Python {platform.python_version()}")
    return 0
