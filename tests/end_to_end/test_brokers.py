"""`offload serve --broker URL` with real brokers: what it does with them, without them, and when they come late."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from offload.client import Client
from tests.backends.brokers import Backend, backends, private
from tests.servers import Server

JOBS = Path(__file__).parent / "client_jobs.py"
SLOW_SWEEP = ("--sweep-seconds", "60", "--workers", "1")
PATIENCE_SECONDS = 60.0


@pytest.fixture(params=backends())
def backend(request: pytest.FixtureRequest) -> Backend:
    found: Backend = request.getfixturevalue(f"{request.param}_server")
    return found


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


def prefixed(url: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}prefix=t{uuid4().hex[:12]}"


def broker_check(url: str) -> str:
    return str(httpx2.get(f"{url}/readyz").json()["checks"]["broker"])


def metric(url: str, line: str) -> float:
    for each in httpx2.get(f"{url}/metrics").text.splitlines():
        if each.startswith(line + " "):
            return float(each.rpartition(" ")[2])
    return 0.0


def test_a_server_with_a_broker_runs_tasks_by_its_tokens(backend: Backend, tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--broker", prefixed(backend.url), *SLOW_SWEEP) as server:
        until(lambda: broker_check(server.url) == "ok", "the broker to be there")
        with Client(server.url) as client:
            assert [client.call("add", a=n, b=1) for n in range(10)] == [n + 1 for n in range(10)]
        for what in ("announced", "taken"):
            counted = f'offload_broker_tokens_total{{what="{what}"}}'
            until(partial(metric, server.url, counted), f"tokens to be {what}")
        until(lambda: metric(server.url, "offload_broker_up") == 1, "the metrics to say that it is there")


def test_a_broker_that_is_not_there_is_told_of_and_accepting_goes_on(tmp_path: Path) -> None:
    with private("redis", tmp_path / "broker") as broker:
        broker.stop()
        secret = broker.url.replace("127.0.0.1", "user:s3cret@127.0.0.1")
        with Server(JOBS, tmp_path / "data", "--broker", secret, *SLOW_SWEEP) as server:
            with Client(server.url) as client:
                assert client.call("add", a=1, b=1) == 2
            until(lambda: broker_check(server.url) != "ok", "the trouble to be told")
            assert httpx2.get(f"{server.url}/readyz").status_code == 200
            until(lambda: metric(server.url, "offload_broker_up") == 0, "the metrics to say so too")
        assert "looking at the store instead" in server.log()
        assert "s3cret" not in server.log()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("kafka://somewhere", "write native, or a URL that begins with one of"),
        ("redis://", "names no host"),
        ("redis://h?prefix=1", "must match"),
        ("redis://:s3cret@h:port", "not a URL"),
    ],
)
def test_a_wrong_url_is_refused_with_a_reason_and_without_its_password(url: str, reason: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "offload", "serve", str(JOBS), "--port", "0", "--data", str(tmp_path), "--broker", url],
        env=dict(os.environ), capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr and "Traceback" not in done.stderr and "s3cret" not in done.stderr


def test_a_missing_package_is_named_with_the_extra_that_brings_it(tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("raise ModuleNotFoundError('no', name='redis')\n")
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-m", "offload", "serve", str(JOBS), "--port", "0", "--data", str(tmp_path / "data"),
         "--broker", "redis://127.0.0.1"],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and 'pip install "offload[redis]"' in done.stderr, done.stderr


def test_the_settings_show_a_broker_without_its_password() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "offload", "settings", "--json", "--broker", "redis://user:s3cret@host/1?password=s3cret"],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True,
    )  # fmt: skip
    assert "redis://***@host/1" in done.stdout and "s3cret" not in done.stdout
