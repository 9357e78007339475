"""A wrapped application whose slow requests run on other nodes: the same command line, and `offload work --wrap`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from offload.cli.main import main
from tests.conformance.postgres import Databases
from tests.end_to_end import wrapped_flask
from tests.end_to_end.talking import ask, call_wsgi, ended, later
from tests.end_to_end.test_proxy import upstream
from tests.servers import Server

FLASK = f"{Path(__file__).parent / 'wrapped_flask.py'}:app"
SLOW = ("--slow", "/report", "--slow", "POST /size=1", "--prefix", "/offload")


@contextmanager
def side_by_side(*servers: Server) -> Iterator[None]:
    """Start them all at once."""
    with ExitStack() as stack:
        for server in servers:
            stack.push(server)
            server.begin()
        for server in servers:
            server.await_ready()
        yield


@pytest.fixture(scope="module")
def flask(postgres: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    home = tmp_path_factory.mktemp("elsewhere")
    flags = ("--store", postgres.server.create("wrapped_elsewhere"), *SLOW)
    front = Server(FLASK, home / "data", *flags, "--no-workers", command="wrap", log=home / "front.log")
    node = Server(FLASK, home / "data", *flags, "--workers", "2", command="work --wrap", log=home / "node.log")
    with side_by_side(front, node):
        yield front, node


@pytest.mark.parametrize("path", ["/teapot", "/binary", "/cookies", "/broken"])
def test_a_node_elsewhere_gives_the_answer_that_the_application_gives_here(
    flask: tuple[Server, Server], path: str
) -> None:
    front, _ = flask
    direct = call_wsgi(wrapped_flask.app, path)
    now, then = ask(front.url, path), later(front.url, path)
    assert (now.status, now.body) == (then.status, then.body) == (direct.status, direct.body)


def test_slow_routes_run_elsewhere_and_nowhere_else(flask: tuple[Server, Server]) -> None:
    front, node = flask
    node.pause()
    taken = ask(front.url, "/report?seconds=0.1")
    waiting = ask(front.url, taken["location"] + "?wait=1").json
    assert (taken.status, waiting["status"]) == (202, "QUEUED")
    node.resume()
    assert ended(front.url, taken["location"])["status"] == "DONE"
    own = ask(front.url, "/size", "POST", b"12345")
    assert ended(front.url, own["location"])["queue"] == "request-size"


def test_a_proxy_sends_requests_from_a_node_elsewhere(postgres: Databases, tmp_path: Path) -> None:
    flags = ("--store", postgres.server.create("proxied_elsewhere"), "--slow", "/slow")
    with upstream() as (behind, _):
        front = Server(behind, tmp_path / "data", *flags, "--no-workers", command="proxy", log=tmp_path / "front")
        node = Server(
            behind, tmp_path / "data", *flags, "--workers", "1", command="work --proxy", log=tmp_path / "node"
        )
        with side_by_side(front, node):
            taken = ask(front.url, "/slow")
            assert ended(front.url, taken["location"])["status"] == "DONE"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["jobs.py", "--wrap", "shop:app"], "a node works for one"),
        (["--celery", "shop", "--wrap", "shop:app"], "a node works for one"),
        (["--proxy", "shop", "--store", "postgresql://nobody@127.0.0.1:1/x"], "'shop' is not an upstream"),
        (["--wrap", "shop:app"], "one process owns a SQLite file"),
        (["--wrap", "nowhere_at_all:app", "--store", "postgresql://nobody@127.0.0.1:1/x"], "nowhere_at_all"),
    ],
)
def test_what_cannot_work_is_said_at_the_start(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["work", *flags]) != 0
    assert said in capsys.readouterr().err
