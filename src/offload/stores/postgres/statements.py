"""Statements that treat many rows in one step: each column travels as one array."""

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


async def update_tasks(connection: Connection, names: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Set columns of tasks; each row holds the key and then the values."""
    await connection.execute(_update(names), *columns(rows))


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
