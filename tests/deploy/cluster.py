"""The deployment of examples/deploy on one machine: API nodes and worker nodes over PostgreSQL, behind a real proxy."""

import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.backends.free_port import free_port
from tests.backends.postgres import Postgres
from tests.backends.waiting import wait_until
from tests.docs.pages import ROOT
from tests.servers import Server

PROXIES = ROOT / "examples" / "deploy" / "proxies"
JOBS = Path(__file__).with_name("jobs_to_deploy.py")


def program(name: str) -> str:
    """Return where a program is, or skip."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"needs {name}; as root tests/install_tools.sh installs it")
    return found


@dataclass
class Cluster:
    url: str
    """The proxy's."""
    apis: list[Server]
    workers: list[Server]

    def restart_api(self, number: int) -> None:
        """Drain an API node and start it again at its port, when the proxy may have seen both."""
        assert self.apis[number].terminate() == 0
        self.apis[number].start()


@contextmanager
def cluster(tmp_path: Path, proxy: str, *, apis: int = 2, workers: int = 2) -> Iterator[Cluster]:
    """Start all of it; leaving stops all of it."""
    program(proxy)
    with ExitStack() as stack:
        store = stack.enter_context(Postgres()).url()
        shared = ("--store", store, "--blobs", f"file://{tmp_path / 'blobs'}")
        ports = [free_port() for _ in range(apis)]
        served = [
            stack.enter_context(Server(JOBS, tmp_path / f"api-{n}", *shared, "--no-workers", "--port", str(port)))
            for n, port in enumerate(ports)
        ]
        working = [
            stack.enter_context(Server(JOBS, tmp_path / f"work-{n}", *shared, "--workers", "1", command="work"))
            for n in range(workers)
        ]
        url = stack.enter_context(in_front(tmp_path / proxy, proxy, ports))
        yield Cluster(url=url, apis=served, workers=working)


@contextmanager
def in_front(folder: Path, proxy: str, ports: list[int]) -> Iterator[str]:
    """Start a proxy with the settings of examples/deploy, names and ports of this machine put in."""
    folder.mkdir()
    port = free_port()
    text = (PROXIES / {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}[proxy]).read_text()
    for number, own in enumerate(ports, 1):
        text = text.replace(f"api-{number}:8000", f"127.0.0.1:{own}")
    assert not re.search(r"api-\d:8000", text)
    if proxy == "nginx":
        text = text.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/", f"{folder}/")
        command = [program("nginx"), "-c", str(folder / "settings"), "-g", "daemon off;"]
    else:
        text = text.replace("bind :8080", f"bind 127.0.0.1:{port}")
        command = [program("haproxy"), "-db", "-f", str(folder / "settings")]
    (folder / "settings").write_text(text)
    folder.chmod(0o777)  # nginx's own workers are another user
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/readyz"), seconds=60, what=f"{proxy} to reach a node")
        yield url
    finally:
        running.terminate()
        running.wait(30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
