"""`offload migrate`: bring the schema of the store up to date, before the nodes that need it start."""

import argparse
import asyncio

from offload.cli.settings_flags import add_settings_flags, read_settings
from offload.cli.shown import as_json, say
from offload.settings import SPECS

HELP = "bring the schema of the store up to date"
DESCRIPTION = """\
Bring the schema of the store up to date. A node does it when it starts; this does it ahead of that, with the rights of
another user of the database for one.

It may be run twice, by several at once, and again after it was killed: each step is done once and whole."""
EXAMPLES = """\
examples:
  offload migrate --store postgresql://owner@db.example/offload
  OFFLOAD_STORE=postgresql://owner@db.example/offload offload migrate --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_settings_flags(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    from offload import storage

    done = asyncio.run(storage.migrate(settings))
    if options.json:
        say(as_json({"migrations": done}))
        return 0
    for name in done:
        say(name)
    where = storage.file_of(settings) or SPECS["store"].show(settings.store)
    say(f"{where} is up to date")
    return 0
