"""Opens the store that the settings name, with what belongs to it: the roll of its nodes, and the bell between them."""

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from offload import others
from offload.bells import LocalBell, MuteBell
from offload.core.errors import StoreUnavailable, WrongSetting
from offload.core.task import Seconds
from offload.ports.bell import Bell
from offload.ports.nodes import NodeStore
from offload.ports.store import Store
from offload.settings import Settings
from offload.stores.memory_nodes import MemoryNodes
from offload.stores.sqlite import keys as sqlite_keys
from offload.stores.sqlite.file import migrate_file
from offload.stores.sqlite.store import SqliteStore

log = logging.getLogger("offload.node")

DATABASE = "offload.sqlite"
PATIENCE_SECONDS = 60.0
"""How long a start waits for a database that does not answer: it may be starting as well."""
PAUSE_SECONDS = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A store that is open, and what belongs to it."""

    store: Store
    nodes: NodeStore
    bell: Bell


@asynccontextmanager
async def open_storage(
    settings: Settings, *, node: str, patience: Seconds = PATIENCE_SECONDS
) -> AsyncIterator[Storage]:
    """Open the store that the settings name. Raise StoreInUse, StoreTooNew, StoreUnavailable or WrongSetting."""
    async with AsyncExitStack() as stack:
        if opens := others.opener("store", settings.store):
            yield await _opened_by(opens, settings, node, patience, stack)
        else:
            yield await _opened(settings, node, patience, stack)


def has_keys(settings: Settings) -> bool:
    """Tell whether the store has keys: without any, only this machine may ask."""
    path = file_of(settings)
    if path is not None:
        return sqlite_keys.any_key(path)
    if others.is_known("store", settings.store):
        return asyncio.run(_any_key(settings))
    keys = postgres("keys")
    found: bool = asyncio.run(_patiently(lambda: keys.any_key(settings.store), PATIENCE_SECONDS))
    return found


async def migrate(settings: Settings) -> list[str]:
    """Bring the schema of the store up to date; return the names of what was run."""
    path = file_of(settings)
    if path is not None:
        return await asyncio.to_thread(migrate_file, path)
    if others.is_known("store", settings.store):
        async with open_storage(settings, node="migrate"):
            return []  # whoever opens it sees to its schema
    found: list[str] = await postgres("migrations").migrate_url(settings.store)
    return found


def file_of(settings: Settings) -> Path | None:
    """Return the SQLite file that the settings name, None when they name a server. Raise WrongSetting."""
    url = settings.store
    if not url:
        return settings.data.absolute() / DATABASE
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme in ("postgresql", "postgres") or others.is_known("store", url):
        return None
    if parts.scheme != "sqlite":
        raise WrongSetting("store: write sqlite:///path/of/a/file or postgresql://user:password@host/database")
    path = unquote(parts.path)
    if parts.netloc or path in ("", "/"):
        raise WrongSetting("store: a file is written with three slashes, and four when its path is absolute: "
                           "sqlite:///offload.sqlite, sqlite:////var/lib/offload/offload.sqlite")  # fmt: skip
    return Path(path[1:]).absolute()


def kind_of(settings: Settings) -> str:
    """Return what the store is called: the scheme of its URL, when it is an adapter of others."""
    if file_of(settings) is not None:
        return "sqlite"
    return settings.store.partition(":")[0] if others.is_known("store", settings.store) else "postgresql"


def postgres(module: str) -> ModuleType:
    """Return a module of the PostgreSQL store. Raise WrongSetting when its packages are not installed."""
    try:
        return importlib.import_module(f"offload.stores.postgres.{module}")
    except ModuleNotFoundError as error:
        lacks = f"store: postgresql:// needs the package {error.name!r}, which is not installed"
        raise WrongSetting(f'{lacks}: pip install "offload[postgres]"') from None


async def _opened(settings: Settings, node: str, patience: Seconds, stack: AsyncExitStack) -> Storage:
    relaxed = settings.durability == "relaxed"
    path = file_of(settings)
    if path is not None:
        embedded = await SqliteStore.open(path, relaxed=relaxed)
        stack.push_async_callback(embedded.close)
        return Storage(store=embedded, nodes=MemoryNodes(), bell=LocalBell())
    url, opens, bell = settings.store, postgres("store").PostgresStore.open, postgres("bell").PostgresBell
    store: Any = await _patiently(lambda: opens(url, relaxed=relaxed), patience)
    stack.push_async_callback(store.close)
    return Storage(store=store, nodes=store.nodes, bell=bell(url, node=node))


async def _opened_by(
    opens: others.Opener, settings: Settings, node: str, patience: Seconds, stack: AsyncExitStack
) -> Storage:
    if settings.durability != "full":
        raise WrongSetting(f"durability: what {kind_of(settings)}:// keeps, and when, is for its own settings to say")
    store: Any = await _patiently(lambda: stack.enter_async_context(opens(settings.store, node)), patience)
    nodes: NodeStore | None = getattr(store, "nodes", None)
    if nodes is None:
        return Storage(store=store, nodes=MemoryNodes(), bell=LocalBell())
    return Storage(store=store, nodes=nodes, bell=getattr(store, "bell", None) or MuteBell())


async def _any_key(settings: Settings) -> bool:
    async with open_storage(settings, node="keys") as storage:
        return bool(await storage.store.keys.all())


async def _patiently(what: Callable[[], Awaitable[T]], patience: Seconds) -> T:
    """Try again while the database is away: it may be starting as well."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while True:
        try:
            return await what()
        except StoreUnavailable as error:
            if loop.time() >= until:
                raise
            log.warning("waiting up to %.0f s more: %s", until - loop.time(), error)
        await asyncio.sleep(PAUSE_SECONDS)
