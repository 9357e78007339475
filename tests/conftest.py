"""How tests run: coroutine tests each get an event loop and a deadline, and in CI a skipped test is a failed one."""

import os
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.backends.every_server import VARIABLE, asked_for, stop_servers
from tests.backends.rabbitmq import RabbitServer
from tests.backends.redis import RedisServer
from tests.backends.sqs import SqsServer
from tests.conformance.postgres import Databases, databases
from tests.servers import forget_stopped, logs

pytest_plugins = ["offload.conformance.plugin"]  # which runs coroutine tests as well
LEFT_OUT = "left out on "

# how long an example takes says how busy the machine is, and nothing of what is promised
settings.register_profile(
    "busy machine", settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
)
settings.load_profile("busy machine")


def pytest_configure(config: pytest.Config) -> None:
    try:
        asked_for()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_unconfigure(config: pytest.Config) -> None:
    stop_servers()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what says of itself that it speaks of another store, broker or place for files; say so."""
    if not os.environ.get(VARIABLE):
        return
    on = asked_for()
    for item in items:
        for marker in item.iter_markers("only_on"):
            if not set(marker.args) <= set(on.words):
                item.add_marker(pytest.mark.skip(f"{LEFT_OUT}{on}: {marker.kwargs['why']}"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    forget_stopped()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what servers said when a test failed; fail what was skipped where nobody would read that it was."""
    report = yield
    if report.failed:
        report.sections += [(f"log of the server at {whose}", log) for whose, log in logs() if log]
    meant = hasattr(report, "wasxfail") or LEFT_OUT in str(report.longrepr)
    if report.skipped and not meant and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped, and with CI=true a skip is a failure: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the whole run; who wants to kill one starts another."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One server for the whole run: it takes seconds to start."""
    with RabbitServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session")
def sqs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqsServer]:
    with SqsServer(tmp_path_factory.mktemp("sqs")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Databases]:
    """Return what makes databases on one server of this test run; who wants to kill one starts another."""
    with databases() as made:
        yield made
