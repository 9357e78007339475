"""Opens each adapter once before the tests, so that what none of them could pass is said in one sentence."""

import asyncio
import inspect
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from offload.conformance.given import NODES, PARTS, Factory, Given
from offload.conformance.lacking import lacks
from offload.conformance.places import BlobPlace, Place
from offload.ports import Blobs, FileStore, QueueStore, TaskStore
from offload.ports.bell import Bell
from offload.ports.broker import Broker, BrokerUnavailable
from offload.ports.callbacks import DeliveryStore
from offload.ports.history import HistoryStore
from offload.ports.keys import KeyStore
from offload.ports.nodes import NodeStore
from offload.ports.schedules import ScheduleStore

PORTS: dict[str, type] = {
    "deliveries": DeliveryStore,
    "keys": KeyStore,
    "history": HistoryStore,
    "schedules": ScheduleStore,
    NODES: NodeStore,
}
OPEN_SECONDS = 60.0
CONNECT_SECONDS = 30.0


def probe(given: Given) -> None:
    """Raise UsageError when an adapter cannot be opened, or lacks something of its port."""
    with tempfile.TemporaryDirectory(prefix="offload-conformance-") as folder:
        for kind, factories in given.factories.items():
            for target, factory in factories.items():
                asyncio.run(_probe(kind, f"--offload-{kind} {target}", factory, Place.new(Path(folder)), given))


async def _probe(kind: str, option: str, factory: Factory, place: Place, given: Given) -> None:
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            if kind == "store":
                opened = factory(place)
                _check_opener(option, opened)
                async with opened as store:
                    missing = list(_missing_of_store(store, given.without))
            elif kind == "broker":
                missing = await _missing_of_broker(factory(place, "node-1"))
            elif kind == "blobs":
                made = factory(place)
                missing = lacks(made.blobs if isinstance(made, BlobPlace) else made, Blobs)
            else:
                missing = lacks(factory(place, "node-1"), Bell)
    except pytest.UsageError:
        raise
    except TimeoutError:
        raise pytest.UsageError(f"{option}: it was not opened within {OPEN_SECONDS:.0f} s") from None
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        what = "".join(traceback.format_exception_only(error)).strip()
        raise pytest.UsageError(f"{option}: cannot be opened: {last.filename}:{last.lineno}: {what}") from error
    if missing:
        hint = "; parts that are not there yet can be left out: --offload-without" if kind == "store" else ""
        raise pytest.UsageError("\n  ".join([f"{option}: what it gives is not whole{hint}", *missing]))


async def _missing_of_broker(broker: Any) -> list[str]:
    """Say what it lacks, or wait until it answers: else every test would wait."""
    if missing := lacks(broker, Broker):
        return missing
    until = asyncio.get_running_loop().time() + CONNECT_SECONDS
    await broker.start()
    try:
        while True:
            try:
                await broker.announce([])
                return []
            except BrokerUnavailable:
                if asyncio.get_running_loop().time() >= until:
                    raise
            await asyncio.sleep(0.05)
    finally:
        await broker.stop()


def _missing_of_store(store: Any, without: frozenset[str]) -> Iterator[str]:
    for port in (TaskStore, QueueStore, FileStore):
        yield from lacks(store, port)
    for part in (*PARTS, NODES):
        if part in without or (part == NODES and not hasattr(store, NODES)):
            continue
        if not hasattr(store, part):
            yield f"{part} is missing: a {PORTS[part].__name__}"
        else:
            yield from (f"{part}: {what}" for what in lacks(getattr(store, part), PORTS[part]))


def _check_opener(option: str, opened: object) -> None:
    if isinstance(opened, AbstractAsyncContextManager):
        return
    if inspect.iscoroutine(opened):
        opened.close()
    raise pytest.UsageError(
        f"{option}: call it with a place and it must return an async context manager that gives the store, as a "
        f"function does below @contextlib.asynccontextmanager; it returned {type(opened).__name__}"
    )
