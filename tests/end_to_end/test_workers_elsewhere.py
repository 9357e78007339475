"""The example workers in Python, Node and bash, as real processes of a real server: they live, stall and die."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import psutil
import pytest

from tests.backends.free_port import free_port
from tests.servers import Server

pytestmark = pytest.mark.story

EXAMPLES = Path(__file__).parents[2] / "examples" / "workers"
KINDS = {
    "python": [sys.executable, "-W", "error", str(EXAMPLES / "worker.py")],
    "node": ["node", str(EXAMPLES / "worker.mjs")],
    "bash": ["bash", str(EXAMPLES / "worker.sh")],
}
SHORT = ("--lease-seconds", "2.5", "--heartbeat-seconds", "0.2", "--sweep-seconds", "0.1", "--grace-seconds", "1")
TEXT = "héllo wörld\nand more\n".encode()
COUNTED = {"bytes": len(TEXT), "lines": 2, "words": 4}
each_kind = pytest.mark.parametrize(
    "kind", ["python", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("node", "bash"))]
)


class Worker:
    """One process; what it said so far is in `lines`."""

    def __init__(self, kind: str, url: str, key: str = "") -> None:
        self.lines: list[str] = []
        self._said = threading.Condition()
        env = {**os.environ, "OFFLOAD_URL": url, "OFFLOAD_API_KEY": key}
        self.process = subprocess.Popen(
            KINDS[kind], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, start_new_session=True
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def until(self, line: str, seconds: float = 60) -> None:
        """Return once it has said this."""
        with self._said:
            assert self._said.wait_for(lambda: line in self.lines, seconds), f"not {line!r}, but {self.lines}"

    def tell(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()

    def __enter__(self) -> Self:
        self.until("ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """End it and what it has started, at once."""
        if self.process.poll() is None:
            family = psutil.Process(self.process.pid)
            for each in [family, *family.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        self.process.wait()
        self._reading.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def service(tmp_path: Path, *flags: str) -> Iterator[tuple[Server, httpx2.Client]]:
    with (
        Server(EXAMPLES / "jobs.py", tmp_path / "data", *SHORT, *flags) as server,
        httpx2.Client(base_url=server.url, timeout=60) as client,
    ):
        yield server, client


def submit(client: httpx2.Client, job: str = "count", data: bytes = TEXT, **parameters: Any) -> str:
    headers = {"content-type": "text/plain"}
    made = client.post(f"/v1/jobs/{job}", params=parameters, content=data, headers=headers)
    assert made.status_code == 202, made.text
    return str(made.json()["id"])


def ended(client: httpx2.Client, task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/tasks/{task_id}?wait=60").json()
    assert found["status"] in ("DONE", "FAILED", "CANCELED"), found
    return found


@each_kind
def test_a_worker_gives_results_and_files_and_tells_of_failures_and_drains(tmp_path: Path, kind: str) -> None:
    with service(tmp_path) as (_, client), Worker(kind, str(client.base_url)) as worker:
        longer_than_a_lease = submit(client, seconds=3.5)
        task = ended(client, longer_than_a_lease)
        assert (task["status"], task["result"], task["attempt"]) == ("DONE", COUNTED, 1)
        assert (
            client.get(f"/v1/tasks/{longer_than_a_lease}/logs").text
            == f"--- attempt 1 ---\ncounting {len(TEXT)} bytes\n"
        )
        shouted = submit(client, "shout")
        assert ended(client, shouted)["status"] == "DONE"
        result = client.get(f"/v1/tasks/{shouted}/result")
        assert result.content == "HÉLLO WÖRLD\nAND MORE\n".encode()
        assert result.headers["content-type"].startswith("text/plain") and "shouted.txt" in str(result.headers)
        bad = ended(client, submit(client, data=b"\xff\xfe"))
        assert (bad["status"], bad["attempt"]) == ("FAILED", 1) and "not a text" in bad["error"]["message"]
        for seconds in (0.5, 5):
            with worker if seconds < 1 else Worker(kind, str(client.base_url)) as worker:
                running, waiting = submit(client, seconds=seconds), submit(client)
                worker.until(f"took {running} 1")
                worker.tell(signal.SIGTERM)
                told_at = datetime.now(UTC)
                worker.until("drained")
                assert worker.process.wait(30) == 0
            task = ended(client, running)
            assert task["status"] == "DONE"
            if datetime.fromisoformat(task["finished_at"]) > told_at:
                break  # else it was told too late, by a test that stood still
        assert client.get(f"/v1/tasks/{waiting}").json()["status"] == "QUEUED"


@each_kind
def test_a_cancel_reaches_the_worker_and_one_that_waits_leaves_at_once(tmp_path: Path, kind: str) -> None:
    with service(tmp_path) as (_, client), Worker(kind, str(client.base_url)) as worker:
        task_id = submit(client, seconds=60)
        worker.until(f"took {task_id} 1")
        assert client.post(f"/v1/tasks/{task_id}/cancel").status_code == 202
        assert ended(client, task_id)["status"] == "CANCELED"
        worker.until(f"canceled {task_id} 1")
        assert ended(client, submit(client))["status"] == "DONE", "it goes on with others"
        worker.tell(signal.SIGTERM)
        assert worker.process.wait(15) == 0, "the wait for a task is 20 s"
        waiting = submit(client)
        assert client.get(f"/v1/tasks/{waiting}").json()["status"] == "QUEUED"


@each_kind
def test_a_worker_that_stalls_beyond_its_lease_changes_nothing_when_it_comes_back(tmp_path: Path, kind: str) -> None:
    with service(tmp_path) as (_, client), Worker(kind, str(client.base_url)) as stalled:
        # what a shell has started is not stopped with it: that must end after the lease has
        for seconds in (4, 12) if kind == "bash" else (0.7, 7):
            task_id = submit(client, seconds=seconds)
            stalled.until(f"took {task_id} 1")
            stalled.tell(signal.SIGSTOP)
            if client.get(f"/v1/tasks/{task_id}").json()["finished_at"] is None:
                break
            stalled.tell(signal.SIGCONT)  # it was too quick for a test that stood still
        with Worker("python", str(client.base_url)) as second:
            second.until(f"done {task_id} 2")
            task = ended(client, task_id)
            assert (task["status"], task["attempt"], task["result"]) == ("DONE", 2, COUNTED)
            stalled.tell(signal.SIGCONT)
            stalled.until(f"lost {task_id} 1")
            assert ended(client, task_id) == task


def test_the_task_of_a_worker_that_is_killed_is_given_to_another(tmp_path: Path) -> None:
    with service(tmp_path) as (_, client):
        with Worker("node", str(client.base_url)) as killed:
            task_id = submit(client, seconds=2)
            killed.until(f"took {task_id} 1")
            killed.kill()
        with Worker("python", str(client.base_url)) as second:
            second.until(f"took {task_id} 2")
            task = ended(client, task_id)
            assert (task["status"], task["attempt"], task["result"]) == ("DONE", 2, COUNTED)
        events = client.get(f"/v1/tasks/{task_id}/events").text
        assert events.count('"status":"RUNNING"') == 2 and "LeaseEnded" in events


def test_leases_outlive_the_server_that_gave_them(tmp_path: Path) -> None:
    with service(tmp_path, "--lease-seconds", "20", "--port", str(free_port())) as (server, client):
        with Worker("python", str(client.base_url)) as worker:
            task_id = submit(client, seconds=1.5)
            worker.until(f"took {task_id} 1")
            server.kill()
            server.start()
            task = ended(client, task_id)
            assert (task["status"], task["attempt"], task["result"]) == ("DONE", 1, COUNTED)
