"""A server on a store, a broker and a place for files that a package of somebody else brings."""

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from offload.client import Client
from tests.backends.waiting import wait_until
from tests.end_to_end.test_brokers import broker_check
from tests.servers import Server

JOBS = Path(__file__).parent / "client_jobs.py"
ADAPTERS = '''
"""Adapters that are not ours."""

from contextlib import asynccontextmanager
from pathlib import Path

from offload.blobs.local import LocalBlobs
from offload.brokers.memory import MemoryBroker, MemoryBus
from offload.stores.sqlite.store import SqliteStore


@asynccontextmanager
async def store(url, node):
    opened = await SqliteStore.open(Path(url.removeprefix("stall://")))
    try:
        yield opened
    finally:
        await opened.close()


def broker(url, node):
    return MemoryBroker(MemoryBus(), wait_seconds=0.5)


def blobs(url, data):
    return LocalBlobs(data / "theirs")
'''
POINTS = """
[offload.stores]
stall = stall:store
[offload.brokers]
stall = stall:broker
[offload.blobs]
stall = stall:blobs
"""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """Return the variables by which a package is found that brings adapters."""
    about = tmp_path / "packages" / "stall-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stall\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    (tmp_path / "packages" / "stall.py").write_text(ADAPTERS)
    return {"PYTHONPATH": ":".join(filter(None, [str(tmp_path / "packages"), *sys.path]))}


def test_a_server_runs_on_adapters_of_others(tmp_path: Path, installed: dict[str, str]) -> None:
    flags = ["--store", f"stall://{tmp_path}/their.sqlite", "--broker", "stall://here", "--blobs", "stall://here"]
    for first in (True, False):
        with Server(JOBS, tmp_path / "data", *flags, env=installed) as server, Client(server.url) as client:
            assert client.call("add", a=1, b=1) == 2
            promises = httpx2.get(f"{server.url}/v1/promises").json()
            assert (promises["store"], promises["broker"], promises["blobs"]) == ("stall", "stall", "stall")
            wait_until(lambda: broker_check(server.url) == "ok", seconds=60, what="the broker to be there")
            tasks = httpx2.get(f"{server.url}/v1/tasks").json()["tasks"]
            assert len(tasks) == (1 if first else 2)
    assert (tmp_path / "their.sqlite").is_file() and (tmp_path / "data" / "theirs").is_dir()
    assert not (tmp_path / "data" / "offload.sqlite").exists()


@pytest.mark.parametrize(("command", "flags", "said"), [
    ("serve", ["--store", "stall:///x", "--durability", "relaxed"], "durability: what stall:// keeps, and when"),
    ("work", ["--store", "stall:///x"], "store: it is for a single node, which must serve"),
])  # fmt: skip
def test_what_such_an_adapter_cannot_do_is_refused(
    tmp_path: Path, installed: dict[str, str], command: str, flags: list[str], said: str
) -> None:
    if flags[1] == "stall:///x":
        flags = [flags[0], f"stall://{tmp_path}/x", *flags[2:]]
    done = subprocess.run(
        [sys.executable, "-m", "offload", command, str(JOBS), "--data", str(tmp_path / "data"), "--port", "0", *flags],
        env=installed, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
