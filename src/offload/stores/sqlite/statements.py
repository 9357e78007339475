"""Statements that treat many rows in one step.

A thread that runs a statement gives the interpreter away and must win it back when the statement ends; beside a busy
event loop that wait is what a write costs. So a transaction has few statements, each with many rows, and the sizes are
few too, so that the statements stay prepared.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

import apsw

ROWS_MAX = 64
"""Rows of one statement: enough to make the switching cheap, few enough to keep each size prepared."""

Values = Sequence[Any]


def rows(connection: apsw.Connection, sql: str, *bound: Any) -> list[Any]:
    """Run a statement; return its rows."""
    return connection.execute(sql, bound).fetchall()


def value(connection: apsw.Connection, sql: str, *bound: Any) -> Any:
    """Return the one value of a statement that gives one row."""
    return connection.execute(sql, bound).fetchall()[0][0]


def insert(connection: apsw.Connection, into: str, values: Sequence[Values]) -> None:
    """Insert rows; `into` is what stands before VALUES."""
    for part in _parts(values):
        connection.execute(_insert(into, len(part[0]), len(part)), tuple(chain.from_iterable(part)))


def update(connection: apsw.Connection, columns: tuple[str, ...], values: Sequence[Values]) -> None:
    """Set `columns` of tasks; each row holds the key and then the values."""
    for part in _parts(values):
        connection.execute(_update(columns, len(part)), tuple(chain.from_iterable(part)))


def run_for(connection: apsw.Connection, sql: str, keys: Sequence[Any], *before: Any) -> list[Any]:
    """Run a statement with `IN (@keys)` for all keys; return its rows. `before` binds what stands ahead of it."""
    return [
        row for part in _parts(keys) for row in connection.execute(_listed(sql, len(part)), (*before, *part)).fetchall()
    ]


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), ROWS_MAX):
        yield values[start : start + ROWS_MAX]


@cache
def _insert(into: str, width: int, height: int) -> str:
    return f"{into} VALUES {_rows(width, height)}"


@cache
def _update(columns: tuple[str, ...], height: int) -> str:
    if height == 1:  # ?1 is the key
        return f"UPDATE tasks SET {', '.join(f'{c} = ?{i}' for i, c in enumerate(columns, 2))} WHERE key = ?1"
    values = ", ".join(f"{column} = v.column{i}" for i, column in enumerate(columns, 2))
    return f"UPDATE tasks SET {values} FROM (VALUES {_rows(len(columns) + 1, height)}) v WHERE tasks.key = v.column1"


@cache
def _listed(sql: str, count: int) -> str:
    return sql.replace("@keys", ", ".join("?" * count))


def _rows(width: int, height: int) -> str:
    row = f"({', '.join('?' * width)})"
    return ", ".join([row] * height)
