"""The published tests of the roll of nodes, for every one of ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from offload.conformance.places import OpenNodes, Place
from offload.conformance.test_node_store import *  # noqa: F403
from offload.ports.nodes import NodeStore
from offload.stores.memory_nodes import MemoryNodes
from tests.conformance.postgres import Databases


@pytest.fixture(params=["memory", "postgres"])
def open_nodes(request: pytest.FixtureRequest, place: Place) -> OpenNodes:
    @asynccontextmanager
    async def memory() -> AsyncIterator[NodeStore]:
        yield MemoryNodes()

    @asynccontextmanager
    async def postgres() -> AsyncIterator[NodeStore]:
        databases: Databases = request.getfixturevalue("postgres")
        async with databases.at(place) as store:
            yield store.nodes

    return memory if request.param == "memory" else postgres
