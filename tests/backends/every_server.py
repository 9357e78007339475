"""The store of every server that tests start, when `EVERY_SERVER_ON=postgresql` asks for another than the usual.

What tests say of the SQLite file itself does not hold then: that it has one owner, that commands find the keys in it.
"""

import atexit
import hashlib
import os
from functools import cache
from pathlib import Path

from tests.backends.postgres import Postgres


def store_of(data: Path) -> dict[str, str]:
    """Return the variables that give the server of a data directory a store: the same after each restart."""
    if os.environ.get("EVERY_SERVER_ON") != "postgresql":
        return {}
    return {"OFFLOAD_STORE": _database(str(data.absolute()))}


@cache
def _database(data: str) -> str:
    return _server().create(f"of_{hashlib.sha256(data.encode()).hexdigest()[:16]}")


@cache
def _server() -> Postgres:
    server = Postgres({"max_connections": "300"}).start()
    atexit.register(server.__exit__, None, None, None)
    return server
