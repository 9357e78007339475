"""The pytest plugin: its options say what is checked, its fixtures open that for the tests, and coroutine tests run.

pytest -p offload.conformance.plugin --pyargs offload.conformance --offload-store MODULE:FACTORY
"""

import pkgutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import offload.conformance
from offload.conformance import given as what
from offload.conformance import running
from offload.conformance.memory import Memory
from offload.conformance.places import (
    BellFactory,
    BlobPlace,
    BlobsFactory,
    BrokerFactory,
    MakeBell,
    MakeBroker,
    OpenBroker,
    OpenNodes,
    OpenStore,
    Place,
    StoreFactory,
)
from offload.conformance.probing import probe
from offload.ports import Blobs
from offload.ports.broker import Broker
from offload.ports.nodes import NodeStore

# before the tests and what they share are imported, so that an assertion that fails says what was compared
_TESTS = [each.name for each in pkgutil.iter_modules(offload.conformance.__path__, "offload.conformance.")]
pytest.register_assert_rewrite(*(name for name in _TESTS if name not in sys.modules))

HOME = Path(__file__).parent
GIVEN = pytest.StashKey[what.Given]()
STORIES = 10

pytest_pyfunc_call = running.pytest_pyfunc_call


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("offload", "conformance of adapters for offload")
    for kind, many in what.KINDS.items():
        group.addoption(
            f"--offload-{kind}",
            action="append",
            default=[],
            metavar="MODULE:FACTORY",
            help=f"the function that opens what is checked; may be repeated, for several {many}",
        )
    group.addoption(
        "--offload-without",
        action="append",
        default=[],
        metavar="PARTS",
        help=f"parts of a store that are not there yet, of {','.join(what.PARTS)}: their tests are skipped",
    )
    group.addoption(
        "--offload-stories",
        type=int,
        default=STORIES,
        metavar="N",
        help=f"how many random stories a store is compared in with the one in memory (default: {STORIES})",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", running.MARKER)
    config.stash[GIVEN] = what.read(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is checked, and what is not."""
    given = config.stash[GIVEN]
    if not given:
        return []
    return [f"offload {kind}: {', '.join(given.targets(kind)) or 'none, and no tests of it'}" for kind in what.KINDS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say that what was passed is not all."""
    if without := config.stash[GIVEN].without.intersection(what.PARTS):
        names = ", ".join(sorted(without))
        terminalreporter.write_line(f"offload: this store is not whole, it is without {names}: a server needs them")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with each adapter that was given; of a pairing of which one half was, with the other in memory."""
    given = metafunc.config.stash[GIVEN]
    checks = _checks(metafunc.module)
    for kind in what.KINDS:
        fixture = f"{kind}_factory"
        factories = dict(given.factories[kind])
        if fixture not in metafunc.fixturenames:
            continue
        if not factories and any(given.factories[other] for other in checks):
            factories = {"memory": getattr(Memory(), kind)}
        if factories:
            ids = [target.rpartition(":")[2] for target in factories]
            unique = ids if len(set(ids)) == len(ids) else list(factories)
            metafunc.parametrize(fixture, list(factories.values()), ids=unique, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of what was not given, and say at once what none of the others could pass."""
    published = [item for item in items if item.path.is_relative_to(HOME)]
    if not published:
        return
    given = config.stash[GIVEN]
    if not given:
        options = ", ".join(f"--offload-{kind} MODULE:FACTORY" for kind in what.KINDS)
        raise pytest.UsageError(f"offload.conformance: say what to check, with one or several of {options}")
    probe(given)
    left_out = [item for item in published if not any(given.factories[kind] for kind in _checks(_module(item)))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]
    for item in published:
        if absent := given.without.intersection(getattr(_module(item), "NEEDS", ())):
            item.add_marker(pytest.mark.skip(reason=f"--offload-without {','.join(sorted(absent))}"))


def _checks(module: Any) -> tuple[str, ...]:
    """Return the kinds of adapters that a module of tests is about."""
    return getattr(module, "CHECKS", ())


def _module(item: pytest.Item) -> Any:
    found = item.getparent(pytest.Module)
    return None if found is None else found.obj


def _factory(request: pytest.FixtureRequest, kind: str) -> Any:
    if hasattr(request, "param"):
        return request.param
    pytest.fail(f"say what to check: --offload-{kind} MODULE:FACTORY, or a fixture {kind}_factory", pytrace=False)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return the place of the test."""
    return Place.new(tmp_path)


@pytest.fixture
def store_factory(request: pytest.FixtureRequest) -> StoreFactory:
    factory: StoreFactory = _factory(request, "store")
    return factory


@pytest.fixture
def broker_factory(request: pytest.FixtureRequest) -> BrokerFactory:
    factory: BrokerFactory = _factory(request, "broker")
    return factory


@pytest.fixture
def blobs_factory(request: pytest.FixtureRequest) -> BlobsFactory:
    factory: BlobsFactory = _factory(request, "blobs")
    return factory


@pytest.fixture
def bell_factory(request: pytest.FixtureRequest) -> BellFactory:
    factory: BellFactory = _factory(request, "bell")
    return factory


@pytest.fixture
def open_store(store_factory: StoreFactory, place: Place) -> OpenStore:
    """Return what opens the store of the test: an empty one at first, and the same one again after that."""
    return lambda: store_factory(place)


@pytest.fixture
def open_empty_store(store_factory: StoreFactory, tmp_path: Path) -> OpenStore:
    """Return what opens another store every time, an empty one."""
    return lambda: store_factory(Place.new(tmp_path))


@pytest.fixture
def open_nodes(open_store: OpenStore) -> OpenNodes:
    """Return what opens the nodes of the store, if it has any."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[NodeStore]:
        async with open_store() as store:
            nodes: NodeStore | None = getattr(store, "nodes", None)
            if nodes is None:
                pytest.skip("the store has no `nodes`: it is for one node")
            yield nodes

    return opened


@pytest.fixture
def stories(pytestconfig: pytest.Config) -> int:
    """Return how many random stories a store is compared in."""
    number: int = pytestconfig.getoption("offload_stories", STORIES)
    return number


@pytest.fixture
def make_broker(broker_factory: BrokerFactory, place: Place) -> MakeBroker:
    """Return what makes one node's end of the broker of the test, not started."""
    return lambda node: broker_factory(place, node)


@pytest.fixture
def open_node(make_broker: MakeBroker) -> OpenBroker:
    """Return what opens one node's end: every call of a test gives another node of the same broker."""

    @asynccontextmanager
    async def node(name: str) -> AsyncIterator[Broker]:
        broker = make_broker(name)
        await broker.start()
        try:
            yield broker
        finally:
            await broker.stop()

    return node


@pytest.fixture
def blob_place(blobs_factory: BlobsFactory, place: Place) -> BlobPlace:
    """Return the blobs of the test, not started, with what can be told of them."""
    made = blobs_factory(place)
    return made if isinstance(made, BlobPlace) else BlobPlace(blobs=made)


@pytest.fixture
def blobs(blob_place: BlobPlace) -> Blobs:
    """Return the blobs of the test, not started."""
    return blob_place.blobs


@pytest.fixture
def make_bell(bell_factory: BellFactory, place: Place) -> MakeBell:
    """Return what makes one node's bell of the store of the test, not started."""
    return lambda node: bell_factory(place, node)
