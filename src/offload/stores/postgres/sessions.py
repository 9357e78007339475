"""Connections to the database: how they are opened, what they insist on, and what their errors mean."""

import asyncio
from dataclasses import dataclass

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from offload.core.errors import DiskFull, OffloadError, StoreUnavailable, WrongSetting
from offload.core.store_errors import StoreDamaged
from offload.stores.postgres.address import shown
from offload.stores.postgres.statements import Connection

SCHEMA = "offload"
"""All our tables are in a schema of their own: the database may be shared with an application."""
SERVER_VERSION_MIN = 14
CONNECT_SECONDS = 5.0
COMMAND_SECONDS = 20.0
"""A statement that takes longer is given up with its connection: the server, or the way to it, hangs."""
STATEMENTS_CACHED = 300
RETRY_SECONDS = 2
LOCKS = 0x0FF10AD
"""Our class of advisory locks: number 0 is held while the schema is changed, the others are slots of counters."""
SLOTS_MAX = 10_000

GONE = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""The connection is no more, or was never made."""
AWAY = (
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,  # an administrator ended it, or it is stopping
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby that answers in place of its primary
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
NOT_OURS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
"""Trying again will not help: the URL is wrong, or the rights of its user are."""
CROSSED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""The transaction lost against another one and is to be done again."""

POOLED = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""What is said where another session answers than the one that was asked before."""
POOLED_TRIES = 3
SESSION = f"""
    SET search_path = {SCHEMA};
    SET default_transaction_isolation = 'read committed';
    SET idle_in_transaction_session_timeout = 60000;  -- what a node that froze holds is let go
    -- every statement is meant for an index, and statistics may be older than a million new tasks
    SET enable_seqscan = off;
    SET enable_bitmapscan = off;
    SET jit = off
"""
DURABLE, RELAXED = (f"{SESSION}; SET synchronous_commit = {value}" for value in ("on", "off"))
PID = "SELECT pg_backend_pid()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which database, and how durable a commit of it must be."""

    url: str
    relaxed: bool = False

    @property
    def name(self) -> str:
        return shown(self.url)


async def connect(place: Place, *, timeout: float = CONNECT_SECONDS) -> Connection:
    """Open a connection on which every commit is on the server's disk when it returns, unless `relaxed`."""
    async with asyncio.timeout(timeout):
        connection: Connection = await asyncpg.connect(
            place.url,
            timeout=timeout,
            command_timeout=COMMAND_SECONDS,
            statement_cache_size=STATEMENTS_CACHED,
            # never a standby, whatever the URL says: it answers from the past, and would be asked for as long as it can
            target_session_attrs=SessionAttribute.read_write,
            server_settings={"application_name": "offload"},
        )
        try:
            # said here and not at the greeting, of which a pooler understands a few only
            await connection.execute(RELAXED if place.relaxed else DURABLE)
        except BaseException:
            connection.terminate()
            raise
    return connection


async def check_server(connection: Connection, place: Place) -> None:
    """Raise StoreUnavailable when commits are not durable there, WrongSetting when the server is too old."""
    version = connection.get_server_version()
    if version.major < SERVER_VERSION_MIN:
        raise WrongSetting(
            f"store: {place.name} is PostgreSQL {version.major}; offload needs {SERVER_VERSION_MIN} or newer"
        )
    if place.relaxed:
        return
    for setting in ("fsync", "full_page_writes"):
        value = await connection.fetchval(f"SHOW {setting}")
        if value != "on":
            raise WrongSetting(
                f"store: {place.name} runs with {setting} = {value}, so that a power cut loses what was accepted: "
                "put it on there, or say durability = relaxed"
            )
    kept = await connection.fetchval("SHOW synchronous_commit")
    if kept != "on":
        raise StoreUnavailable(f"{place.name} does not keep synchronous_commit = on (it is {kept})")


async def check_sessions(connection: Connection, place: Place) -> None:
    """Raise WrongSetting when a pooler gives the connection of one session to others between two transactions."""
    others: list[Connection] = []
    try:
        pid = await connection.fetchval(PID)
        if pid == connection.get_server_pid():
            return  # PostgreSQL itself has greeted us; poolers make up the number that stands in a greeting
        # a pooler lends first what was given back last; should it not, one of a few is as good
        for _ in range(POOLED_TRIES):
            others.append(other := await connect(place))
            await other.execute("BEGIN")
            if await other.fetchval(PID) == pid:
                raise _pooled(place)
        if await connection.fetchval(PID) != pid:
            raise _pooled(place)
    except asyncpg.PostgresError as error:
        if isinstance(error, POOLED) or "statement pooling" in str(error):
            raise _pooled(place) from error
        raise
    finally:
        for other in others:
            other.terminate()


async def take_slot(connection: Connection) -> int:
    """Return a number that no other connection of ours has while this one lives."""
    sql = "SELECT n FROM generate_series(1, $1) n WHERE pg_try_advisory_lock($2, n) LIMIT 1"
    slot: int | None = await connection.fetchval(sql, SLOTS_MAX, LOCKS)
    assert slot is not None
    return slot


def translated(error: BaseException, place: Place) -> BaseException:
    """Return what an error of the database means to a caller; any other error as it is."""
    if isinstance(error, OffloadError | asyncio.CancelledError):
        return error
    if isinstance(error, asyncpg.DiskFullError):
        return DiskFull(f"{place.name} has no room left; nothing was changed", retry_seconds=RETRY_SECONDS)
    if isinstance(error, asyncpg.DataCorruptedError | asyncpg.IndexCorruptedError):
        return StoreDamaged(f"{place.name} is damaged ({error}): stop offload and restore a backup")
    if isinstance(error, POOLED):
        return _pooled(place)
    if isinstance(error, NOT_OURS):
        return WrongSetting(f"store: {place.name} does not let us in: {error}")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        why = f"{place.name} cannot be written now: it is a standby, or read-only"
        return StoreUnavailable(why, retry_seconds=RETRY_SECONDS)
    if is_gone(error) or isinstance(error, CROSSED):
        return away(error, place)
    return error


def _pooled(place: Place) -> WrongSetting:
    return WrongSetting(
        f"store: {place.name} is a pooler that lends a connection for one transaction at a time, and offload needs its "
        "own for as long as a session lasts: let it pool sessions (of PgBouncer: pool_mode = session), or name "
        "PostgreSQL itself"
    )


def away(error: BaseException, place: Place) -> StoreUnavailable:
    """Return what a caller hears of a database that cannot be reached, whatever it says itself."""
    why = str(error) or type(error).__name__
    return StoreUnavailable(f"{place.name} cannot be used now: {why}", retry_seconds=RETRY_SECONDS)


def is_gone(error: BaseException) -> bool:
    """Tell whether an error means that the connection has to be made anew."""
    return isinstance(error, (*GONE, *AWAY)) and not isinstance(error, ValueError)  # which is a value that has no place
