"""What examples/deploy describes is run: API nodes and workers over PostgreSQL, behind nginx and behind haproxy."""

import hashlib
import os
import threading
from pathlib import Path

import httpx2
import pytest

from offload import Client
from tests.deploy.cluster import Cluster, cluster

PROXIES = ("nginx", "haproxy")


class Load:
    """Clients that submit and wait for results through the proxy, until told to stop."""

    def __init__(self, url: str, threads: int = 4) -> None:
        self._url = url
        self._stop = threading.Event()
        self.done = 0
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        with Client(self._url) as client:
            while not self._stop.is_set():
                try:
                    if client.call("add", a=number, b=self.done, wait_seconds=60) < number:
                        self.wrong.append("a wrong sum")
                except Exception as error:
                    self.wrong.append(f"{type(error).__name__}: {error}")
                self.done += 1


def wait_for_more(load: Load, count: int) -> None:
    """Wait until so many more calls have ended."""
    waited, before = threading.Event(), load.done
    for _ in range(6000):
        if load.done >= before + count:
            return
        waited.wait(0.01)
    raise AssertionError(f"only {load.done - before} calls ended in a minute; {load.wrong[:3]}")


def events_come_as_they_happen(at: Cluster) -> None:
    with Client(at.url) as client, httpx2.Client(base_url=at.url, timeout=30) as http:
        task = client.submit("tick", count=20)
        with http.stream("GET", f"/v1/tasks/{task.id}/events") as answer:
            for line in answer.iter_lines():
                if line == "event: output":
                    break
            assert not client.status(task.id).final, "the proxy kept events back until the end"
        task.cancel()


def large_bodies_go_through(at: Cluster) -> None:
    data = os.urandom(8_000_000)
    with Client(at.url) as client:
        assert client.call("digest", data=data, wait_seconds=60) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("proxy", PROXIES)
def test_every_api_node_is_restarted_under_load_and_no_client_notices(tmp_path: Path, proxy: str) -> None:
    with cluster(tmp_path, proxy) as at:
        events_come_as_they_happen(at)
        large_bodies_go_through(at)
        with Load(at.url) as load:
            wait_for_more(load, 20)
            for number in range(len(at.apis)):
                at.restart_api(number)
                wait_for_more(load, 20)
        assert load.wrong == []
        with Client(at.url) as client:
            assert {task.attempt for task in client.find(job="add")} == {1}
