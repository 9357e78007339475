"""`offload settings`: every setting with its value and where it comes from."""

import argparse
from typing import Any

from offload.cli.settings_flags import add_settings_flags, read_settings
from offload.cli.shown import as_json, say, table
from offload.settings import SPECS

HELP = "print every setting, its value and its source"
DESCRIPTION = (
    "Print every setting with its value and where it comes from: a flag, a variable, offload.toml or the default."
)
EXAMPLES = """\
examples:
  offload settings
  OFFLOAD_PORT=9000 offload settings --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_settings_flags(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = read_settings(options)
    rows: list[tuple[str, str, str]] = []
    for spec in SPECS.values():
        rows.append((spec.name, spec.show(getattr(settings, spec.name)), settings.sources.get(spec.name, "default")))
    for queue, capacity in settings.queues.items():
        for name in ("tasks_max", "bytes_max", "wait_seconds_max"):
            source = settings.sources.get(f"queues.{queue}.{name}", f"as queue_{name}")
            rows.append((f"queues.{queue}.{name}", SPECS[f"queue_{name}"].show(getattr(capacity, name)), source))
    if options.json:
        shown: dict[str, Any] = {name: {"value": value, "source": source} for name, value, source in rows}
        say(as_json(shown))
    else:
        say(table(("setting", "value", "source"), rows))
    return 0
