"""Statements that treat many rows in one step: each column travels as one array.

What a statement costs is mostly the way there and back, so those that do not depend on each other go together.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import asyncpg

from offload.stores.postgres.rows import TASKS, Row

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:  # which is generic for type checkers only
    Connection = asyncpg.Connection
Types = Mapping[str, str]


async def insert(connection: Connection, table: str, types: Types, rows: Sequence[Row], clash: str = "") -> int:
    """Insert rows of the columns that `types` names; return how many went in. `clash` is what ON CONFLICT does."""
    if not rows:
        return 0
    done = await connection.execute(_insert(table, tuple(types.items()), clash), *columns(rows))
    return int(done.rpartition(" ")[2])


class Together:
    """Writes that go as one statement. No two of them may touch the same row, for each sees what was before all."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, list[list[Any]]]] = []

    def insert(self, table: str, types: Types, rows: Sequence[Row], clash: str = "") -> None:
        if rows:
            self._parts.append((_insert(table, tuple(types.items()), clash), columns(rows)))

    def update_tasks(self, names: tuple[str, ...], rows: Sequence[Row]) -> None:
        """Set columns of tasks; each row holds the key and then the values."""
        self._parts.append((_update(names), columns(rows)))

    async def run(self, connection: Connection) -> list[int]:
        """Write; return of each, in the order in which they were given, how many rows it wrote."""
        if not self._parts:
            return []
        bound = [column for _, given in self._parts for column in given]
        row = await connection.fetchrow(_joined(tuple((sql, len(given)) for sql, given in self._parts)), *bound)
        assert row is not None
        return list(row)


def columns(rows: Sequence[Row]) -> list[list[Any]]:
    """Return rows as columns."""
    return [list(column) for column in zip(*rows, strict=True)]


def arrays(types: Sequence[str]) -> str:
    """Return what makes rows of arrays: `unnest($1::text[], …)`."""
    return f"unnest({', '.join(f'${i}::{kind}[]' for i, kind in enumerate(types, 1))})"


@cache
def _insert(table: str, types: tuple[tuple[str, str], ...], clash: str) -> str:
    names = ", ".join(name for name, _ in types)
    return f"INSERT INTO {table} ({names}) SELECT * FROM {arrays([kind for _, kind in types])} {clash}"


@cache
def _update(names: tuple[str, ...]) -> str:
    values = ", ".join(f"{name} = v.{name}" for name in names)
    given = arrays(["bigint", *(TASKS[name] for name in names)])
    return f"UPDATE tasks SET {values} FROM {given} AS v (key, {', '.join(names)}) WHERE tasks.key = v.key"


@cache
def _joined(parts: tuple[tuple[str, int], ...]) -> str:
    """Make one statement of several, whose parameters are counted on."""
    queries, bound = [], 0
    for i, (sql, count) in enumerate(parts):
        moved = re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + bound}", sql)  # noqa: B023
        queries.append(f"w{i} AS ({moved} RETURNING 1)")
        bound += count
    counts = ", ".join(f"(SELECT count(*) FROM w{i})" for i in range(len(parts)))
    return f"WITH {', '.join(queries)} SELECT {counts}"
