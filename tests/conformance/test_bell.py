"""The published tests of bells, for every one of ours."""

import asyncio

import pytest

from offload.conformance.memory import Memory
from offload.conformance.places import BellFactory
from offload.conformance.test_bell import *  # noqa: F403
from offload.stores.postgres.bell import PostgresBell
from tests.conformance.postgres import Databases


@pytest.fixture(params=["memory", "postgres"])
def bell_factory(request: pytest.FixtureRequest) -> BellFactory:
    if request.param == "memory":
        return Memory().bell
    databases: Databases = request.getfixturevalue("postgres")
    url = asyncio.run(databases.empty())
    return lambda place, node: PostgresBell(url, node=node)
