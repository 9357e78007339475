"""Numbered migrations: a store's schema as a list of scripts, each applied once, whole and in order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from offload.core.store_errors import StoreTooNew

NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    number: int
    name: str
    sql: str


def load_migrations(folder: Path) -> list[Migration]:
    """Return the scripts of `folder` in order; their numbers must count up from 1 without gaps."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = NAME.fullmatch(path.name)
        assert match is not None, f"{path.name} is not named like 0001_what_it_does.sql"
        found.append(Migration(number=int(match[1]), name=match[2], sql=path.read_text()))
    assert [migration.number for migration in found] == list(range(1, len(found) + 1)), found
    return found


def pending(migrations: Sequence[Migration], *, at: int, where: str) -> list[Migration]:
    """Return what a store at schema `at` still lacks. Raise StoreTooNew when it is ahead of this program."""
    newest = migrations[-1].number
    if at > newest:
        raise StoreTooNew(
            f"{where} has schema {at}, written by a newer offload; this one knows schemas up to {newest}: "
            "run the newer offload again, or restore the copy made before its upgrade"
        )
    return [migration for migration in migrations if migration.number > at]
