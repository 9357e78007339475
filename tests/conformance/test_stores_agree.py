"""The published stories: SQLite and PostgreSQL give the answers of the store in memory."""

import os

import pytest

from offload.conformance.places import StoreFactory
from offload.conformance.test_stores_agree import *  # noqa: F403
from tests.conformance.conftest import sqlite
from tests.conformance.postgres import Databases


@pytest.fixture(params=["sqlite", "postgres"])
def store_factory(request: pytest.FixtureRequest) -> StoreFactory:
    if request.param == "sqlite":
        return sqlite
    databases: Databases = request.getfixturevalue("postgres")
    return databases.at


@pytest.fixture
def stories(request: pytest.FixtureRequest) -> int:
    on_postgres = "postgres" in request.node.name
    return int(os.environ.get("STORE_STORIES", "6")) if on_postgres else 30
