"""The SQLite file: who owns it, how connections to it are opened, and what its errors mean."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from offload.core.errors import DiskFull, OffloadError, StoreUnavailable
from offload.core.store_errors import StoreDamaged, StoreInUse
from offload.stores.migrate import Migration, load_migrations, pending

MIGRATIONS = load_migrations(Path(__file__).parent / "schema")
APPLICATION_ID = 0x0FF10AD1
"""Marks a file as ours, so that another program's database is never altered."""
CACHE_KIB = 65_536
READER_CACHE_KIB = 8_192
WAL_PAGES = 4_000
"""Pages in the log before a commit copies them into the file: longer is faster, and slower to open after a crash."""
STATEMENTS_CACHED = 400
CHECKED_BYTES_MAX = 256 * 1024 * 1024
"""Files up to this size are checked page by page when asked for at opening; larger ones would keep a start waiting."""
RETRY_SECONDS = 5
DATABASE_FULL = "there is no room left for the database; nothing was changed"


class FileLock:
    """The right to use the file: one process at a time, let go by the kernel when that process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise StoreInUse(
                f"{path} is in use by another offload process (pid {owner}): "
                "stop that one, or give this one a data directory of its own"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._fd)


def open_writer(path: Path, *, relaxed: bool) -> apsw.Connection:
    """Open the one connection that writes; every commit is on the disk when it returns, unless `relaxed`."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite would use the process's mask
    connection = apsw.Connection(str(path), statementcachesize=STATEMENTS_CACHED)
    synchronous = 1 if relaxed else 2
    connection.set_busy_timeout(5_000)
    for pragma in (
        "journal_mode = WAL",
        f"synchronous = {synchronous}",
        "foreign_keys = OFF",
        "temp_store = MEMORY",
        "secure_delete = ON",  # what is deleted is overwritten, in the file at the next checkpoint
        f"cache_size = -{CACHE_KIB}",
        f"wal_autocheckpoint = {WAL_PAGES}",
        f"journal_size_limit = {WAL_PAGES * 4096 * 4}",
    ):
        list(connection.execute(f"PRAGMA {pragma}"))
    kept = (_pragma(connection, "journal_mode"), _pragma(connection, "synchronous"))
    if kept != ("wal", synchronous):
        raise StoreUnavailable(f"{path} cannot be written durably here: journal_mode, synchronous are {kept}")
    return connection


def open_reader(path: Path) -> apsw.Connection:
    """Open a connection that can only read."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, statementcachesize=100)
    connection.set_busy_timeout(5_000)
    for pragma in ("query_only = ON", "temp_store = MEMORY", f"cache_size = -{READER_CACHE_KIB}"):
        list(connection.execute(f"PRAGMA {pragma}"))
    return connection


def migrate(connection: apsw.Connection, path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> list[str]:
    """Bring the schema up to date, one transaction for each script: a crash leaves the schema before or after it."""
    found = _pragma(connection, "application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0]
    if found != APPLICATION_ID and (found != 0 or tables):
        raise StoreDamaged(f"{path} is a database of another program; give offload a data directory of its own")
    todo = pending(migrations, at=_pragma(connection, "user_version"), where=str(path))
    for migration in todo:
        script = (
            f"BEGIN IMMEDIATE; {migration.sql}; PRAGMA application_id = {APPLICATION_ID}; "
            f"PRAGMA user_version = {migration.number}; COMMIT"
        )
        try:
            list(connection.execute(script))
        except apsw.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return [migration.name for migration in todo]


def migrate_file(path: Path) -> list[str]:
    """Bring a file up to date that nobody uses; return what was run. Raise StoreInUse."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        connection = open_writer(path, relaxed=False)
        try:
            return migrate(connection, path)
        finally:
            connection.close()
    except apsw.Error as error:
        raise translated(error, path) from error
    finally:
        lock.release()


def check(connection: apsw.Connection, path: Path) -> None:
    """Read every page of a file that is not too large. Raise StoreDamaged with what is wrong."""
    if path.stat().st_size > CHECKED_BYTES_MAX:
        return
    found = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    if found != ["ok"]:
        raise _damaged(path, "; ".join(map(str, found)))


def translated(error: BaseException, path: Path) -> BaseException:
    """Return what an error of SQLite means to a caller; any other error as it is."""
    if isinstance(error, OffloadError) or not isinstance(error, apsw.Error):
        return error
    if isinstance(error, apsw.FullError):
        return DiskFull(DATABASE_FULL, retry_seconds=RETRY_SECONDS)
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return _damaged(path, str(error))
    if isinstance(error, apsw.IOError | apsw.BusyError | apsw.LockedError | apsw.CantOpenError | apsw.ReadOnlyError):
        return StoreUnavailable(f"the database cannot be used now: {error}", retry_seconds=RETRY_SECONDS)
    return error


def _damaged(path: Path, what: str) -> StoreDamaged:
    return StoreDamaged(f"{path} is damaged ({what}): stop offload, keep a copy of the file, and restore a backup")


def _pragma(connection: apsw.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchall()[0][0]
