"""The flags that are settings: one for each, made from the same list as variables and lines of offload.toml."""

import argparse
import os
from pathlib import Path

from offload.settings import SPECS, Settings, load_settings
from offload.settings.spec import NAMES


def add_settings_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting."""
    parser.add_argument("--config", metavar="FILE", help="read settings from this file instead of ./offload.toml")
    group = parser.add_argument_group(
        "settings",
        "Each is also a variable (--queue-tasks-max is OFFLOAD_QUEUE_TASKS_MAX) and a line of offload.toml "
        "(queue_tasks_max = 500). Sizes: 512MB, 1GiB. Durations: 500ms, 30s, 15m, 7d; a bare number is seconds.",
    )
    for spec in SPECS.values():
        if spec.name == "jobs":
            continue
        words = f"{spec.help} (default: {spec.default or 'none'})".replace("%", "%%")
        group.add_argument(
            spec.flag, dest=f"set_{spec.name}", metavar=spec.kind.unit.upper(), default=argparse.SUPPRESS, help=words,
            action="append" if spec.kind is NAMES else "store",
        )  # fmt: skip


def read_settings(options: argparse.Namespace) -> Settings:
    """Return the settings of this process: its flags, environment and directory. Raise WrongSetting."""
    given = {name.removeprefix("set_"): text for name, text in vars(options).items() if name.startswith("set_")}
    flags = {name: ",".join(text) if isinstance(text, list) else text for name, text in given.items()}
    if getattr(options, "jobs", None):
        flags["jobs"] = options.jobs
    return load_settings(
        flags=flags, environ=os.environ, cwd=Path.cwd(), config=Path(options.config) if options.config else None
    )
