"""The JavaScript client in Node: against servers that refuse and break, and against a real one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.every_server import variables_of
from tests.servers import Server
from tests.tools import node

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "clients" / "js"
MAIN_BYTES_MAX = 10_000


def run(file: str, **env: str) -> None:
    done = subprocess.run(
        [node(), "--test", f"test/{file}"],
        cwd=CLIENT,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout
    assert "# SKIP" not in done.stdout, done.stdout


@pytest.mark.parametrize("file", ["retries.test.mjs", "events.test.mjs"])
def test_it_does_what_it_should_whatever_a_server_does(file: str) -> None:
    run(file)


@pytest.mark.long
@pytest.mark.story
def test_it_works_with_a_real_server(tmp_path: Path) -> None:
    with Server(HERE / "jobs_for_clients.py", tmp_path / "data") as server:
        run("server.test.mjs", OFFLOAD_URL=server.url)


@pytest.mark.long
@pytest.mark.story
def test_it_gives_the_own_answers_of_a_wrapped_application(tmp_path: Path) -> None:
    app = f"{HERE / 'app_to_wrap.py'}:app"
    with Server(app, tmp_path / "data", "--workers", "1", command="wrap") as server:
        run("wrap.test.mjs", OFFLOAD_URL=server.url)


@pytest.mark.long
@pytest.mark.story
def test_it_shows_its_key_wherever_it_asks(tmp_path: Path) -> None:
    made = [sys.executable, "-m", "offload", "keys", "create", "--owner", "anna", "--data", str(tmp_path / "data")]
    env = {**os.environ, **variables_of(tmp_path / "data")}
    done = subprocess.run([*made, "--scopes", "submit,read"], env=env, capture_output=True, text=True, check=True)
    with Server(HERE / "jobs_for_clients.py", tmp_path / "data") as server:
        run("keys.test.mjs", OFFLOAD_URL=server.url, OFFLOAD_KEY=done.stdout.strip())


def test_every_test_file_is_run() -> None:
    assert {file.name for file in (CLIENT / "test").glob("*.test.mjs")} == {
        "keys.test.mjs",
        "retries.test.mjs",
        "events.test.mjs",
        "server.test.mjs",
        "wrap.test.mjs",
    }


def test_what_a_page_has_to_load_is_small() -> None:
    assert (CLIENT / "client.js").stat().st_size < MAIN_BYTES_MAX
