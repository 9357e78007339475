"""The writing connection: how durable it is, and how it is given up when it cannot be trusted."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import pytest

from offload.stores.sqlite.file import open_reader, open_writer
from offload.stores.sqlite.writer import Call, Writer


@pytest.mark.parametrize(("relaxed", "synchronous"), [(False, 2), (True, 1)])
def test_commits_are_synced_unless_promised_less(tmp_path: Path, relaxed: bool, synchronous: int) -> None:
    connection = open_writer(tmp_path / "store.sqlite", relaxed=relaxed)
    assert connection.execute("PRAGMA synchronous").fetchall() == [(synchronous,)]
    assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    connection.close()


def test_a_reading_connection_cannot_write(tmp_path: Path) -> None:
    writer, reader = open_writer(tmp_path / "store.sqlite", relaxed=False), open_reader(tmp_path / "store.sqlite")
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("CREATE TABLE t (n)")
    reader.close()
    writer.close()


async def _answers(tmp_path: Path, error: type[Exception], calls: int) -> tuple[list[object], int]:
    """Return the answers of calls of which the first kind fails once, and how many connections were opened."""
    opened: list[apsw.Connection] = []
    failing = True

    def connect() -> apsw.Connection:
        opened.append(open_writer(tmp_path / "store.sqlite", relaxed=False))
        return opened[-1]

    def perform(connection: apsw.Connection, waiting: Sequence[Call]) -> Callable[[], None]:
        nonlocal failing
        for call in waiting:
            if call.kind == "bad" and failing:
                failing = False
                raise error("injected")
            call.answer = (call.argument, opened.index(connection))
        return lambda: None

    writer = Writer(connect=connect, perform=perform, translate=lambda error: RuntimeError(str(error)))
    writer.start(connect())
    first = await asyncio.gather(*(writer.call("bad", n) for n in range(calls)), return_exceptions=True)
    last = await writer.call("good", "after")
    await writer.close()
    return [*first, last], len(opened)


async def test_after_an_input_output_error_the_connection_is_replaced(tmp_path: Path) -> None:
    answers, opened = await _answers(tmp_path, apsw.IOError, 1)
    assert isinstance(answers[0], RuntimeError)
    assert answers[1] == ("after", 1) and opened == 2


async def test_after_any_other_error_the_connection_is_kept(tmp_path: Path) -> None:
    answers, opened = await _answers(tmp_path, apsw.FullError, 3)
    assert all(isinstance(answer, RuntimeError) for answer in answers[:3])
    assert answers[3] == ("after", 0) and opened == 1


async def test_all_who_wait_in_one_turn_share_one_transaction(tmp_path: Path) -> None:
    shared: list[int] = []

    def perform(connection: apsw.Connection, waiting: Sequence[Call]) -> Callable[[], None]:
        shared.append(len(waiting))
        return lambda: None

    path = tmp_path / "store.sqlite"
    writer = Writer(connect=lambda: open_writer(path, relaxed=False), perform=perform, translate=lambda error: error)
    writer.start(open_writer(path, relaxed=False))
    await asyncio.gather(*(writer.call("any", n) for n in range(100)))
    await writer.close()
    assert shared == [100]
