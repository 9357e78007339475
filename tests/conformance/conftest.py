"""Every test of a store runs against each adapter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offload.stores.memory import MemoryStore
from offload.stores.sqlite.store import SqliteStore
from tests.conformance.making import OpenStore, Store


@pytest.fixture(params=["memory", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Return what opens an empty store, to be used once in a test."""

    @asynccontextmanager
    async def memory() -> AsyncIterator[Store]:
        yield MemoryStore()

    @asynccontextmanager
    async def sqlite() -> AsyncIterator[Store]:
        store = await SqliteStore.open(tmp_path / "store.sqlite")
        try:
            yield store
        finally:
            await store.close()

    return memory if request.param == "memory" else sqlite
