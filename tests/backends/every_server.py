"""What the servers of the tests stand on, when `EVERY_SERVER_ON=postgresql+redis+s3` asks for another than the usual.

Each data directory has a database, a prefix and a bucket of its own, the same after each restart of its server.
"""

import hashlib
import itertools
import os
import tempfile
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

from tests.backends.brokers import private
from tests.backends.postgres import Postgres
from tests.backends.s3 import S3

VARIABLE = "EVERY_SERVER_ON"
STORES = ("sqlite", "postgresql")
BROKERS = ("native", "redis", "rabbitmq", "sqs")
BLOBS = ("local", "s3")
NODES = ("one", "pair")

_started = ExitStack()


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """A store, a broker, a place for files, and nodes; by default those of a server to which nobody said anything."""

    store: str = STORES[0]
    broker: str = BROKERS[0]
    blobs: str = BLOBS[0]
    nodes: str = NODES[0]

    def __post_init__(self) -> None:
        if self.nodes != NODES[0] and self.store == STORES[0]:
            raise ValueError(f"{self}: one process owns a SQLite file; name postgresql")

    @property
    def words(self) -> tuple[str, ...]:
        return astuple(self)

    def __str__(self) -> str:
        return "+".join(word for word in self.words if word != NODES[0])


def combinations() -> list[Combination]:
    """Return every supported one, each with one node."""
    return [
        Combination(store=store, broker=broker, blobs=blobs)
        for store, broker, blobs in itertools.product(STORES, BROKERS, BLOBS)
    ]


def combination_of(text: str) -> Combination:
    """Read `store+broker+blobs`, perhaps `+pair`; what is not said is as usual. Raise ValueError for what is none."""
    kinds = {"store": STORES, "broker": BROKERS, "blobs": BLOBS, "nodes": NODES}
    found: dict[str, str] = {}
    for word in filter(None, text.split("+")):
        kind = next((kind for kind, names in kinds.items() if word in names), None)
        if kind is None:
            known = "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items())
            raise ValueError(f"{VARIABLE}={text}: {word!r} is none of: {known}")
        if kind in found:
            raise ValueError(f"{VARIABLE}={text}: names two of one kind, {found[kind]} and {word}")
        found[kind] = word
    return Combination(**found)


def asked_for() -> Combination:
    """Return what the variable says."""
    return combination_of(os.environ.get(VARIABLE, ""))


def variables_of(data: Path, on: Combination | None = None) -> dict[str, str]:
    """Return the variables that put the server of a data directory on a combination; none for what is usual."""
    on = asked_for() if on is None else on
    own = f"t{hashlib.sha256(str(data.absolute()).encode()).hexdigest()[:16]}"
    variables: dict[str, str] = {}
    if on.store != STORES[0]:
        variables["OFFLOAD_STORE"] = _database(own)
    if on.broker != BROKERS[0]:
        url = _broker(on.broker)
        variables["OFFLOAD_BROKER"] = f"{url}{'&' if '?' in url else '?'}prefix={own}"
    if on.blobs != BLOBS[0]:
        variables |= {"OFFLOAD_BLOBS": _bucket(own), **_s3().environ}
    return variables


def stop_servers() -> None:
    """Stop what was started for the servers of this process."""
    _started.close()


@cache
def _database(name: str) -> str:
    return _postgres().create(name)


@cache
def _bucket(name: str) -> str:
    _s3().make_bucket(name)
    return _s3().bucket_url(name)


@cache
def _postgres() -> Postgres:
    return _started.enter_context(Postgres({"max_connections": "300"}))


@cache
def _broker(name: str) -> str:
    return _started.enter_context(private(name, _folder(name))).url


@cache
def _s3() -> S3:
    return _started.enter_context(S3(_folder("s3")))


def _folder(name: str) -> Path:
    return Path(_started.enter_context(tempfile.TemporaryDirectory(prefix=f"offload-{name}-")))
