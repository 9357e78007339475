"""`offload serve` as a process: its first line, its refusals, how it stops, and how it starts anew."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from offload.client import Client, WaitTimeout
from tests.servers import Server

JOBS = Path(__file__).parent / "client_jobs.py"
PATIENCE_SECONDS = 60.0


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


def refused(home: Path, *words: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "offload", "serve", *words],
        cwd=home, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_what_cannot_be_served_is_refused_with_a_reason_and_no_traceback(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1") as server:
        port = server.url.rpartition(":")[2]
        jobs, data = str(JOBS), str(tmp_path / "data")
        for code, words, reason in (
            (2, ("nothing.py", "--port", "0"), "there is no file nothing.py"),
            (2, (), "which jobs?"),
            (2, (jobs, "--host", "0.0.0.0"), "is not a loopback address"),
            (2, (jobs, "--prot", "1"), "did you mean --port?"),
            (2, (jobs, "--port", "many"), "--port: 'many' is not a whole number"),
            (2, (jobs, "--port", port), "Address already in use"),
            (1, (jobs, "--port", "0", "--data", data), "is in use by another offload process"),
        ):
            assert refused(tmp_path, *words)[0] == code, words
            _, output, told = refused(tmp_path, *words)
            assert reason in told and "Traceback" not in told and output == "", told


def test_settings_come_from_the_environment_and_the_file_too(tmp_path: Path) -> None:
    (tmp_path / "offload.toml").write_text(f'jobs = "{JOBS}"\n[queues.slow]\ntasks_max = 7\n')
    env = {
        "OFFLOAD_CONFIG": str(tmp_path / "offload.toml"),
        "OFFLOAD_QUEUE_TASKS_MAX": "9",
        "OFFLOAD_LOG_FORMAT": "json",
    }
    with Server(JOBS, tmp_path / "data", "--workers", "1", env=env) as server, Client(server.url) as client:
        assert {queue.name: queue.tasks_max for queue in client.queues()} == {"default": 9, "slow": 7}
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        assert any("jobs: add" in line["event"] for line in lines)


def test_what_a_file_prints_does_not_come_before_the_address(tmp_path: Path) -> None:
    jobs = tmp_path / "noisy.py"
    jobs.write_text("import offload\nprint('noise')\n@offload.job\ndef one() -> int:\n    return 1\n")
    with Server(jobs, tmp_path / "data", "--workers", "1") as server, Client(server.url) as client:
        assert client.call("one") == 1
        assert "noise" in server.log()


@pytest.mark.story
def test_sigterm_lets_running_tasks_end_and_their_clients_hear_it(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1") as server, Client(server.url) as client:
        task = client.submit("steps", gate=str(tmp_path / "gate"))
        until(lambda: task.status().status == "RUNNING", "it runs")
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: httpx2.get(f"{server.url}/readyz").status_code == 503, "it is not ready any more")
        (tmp_path / "gate").touch()
        assert server.process is not None and server.process.wait(PATIENCE_SECONDS) == 0
    with Server(JOBS, tmp_path / "data", "--workers", "1") as again, Client(again.url) as client:
        assert client.task(task.id).result(60) == "through"
        assert client.get(task.id).attempt == 1


@pytest.mark.story
def test_tasks_that_do_not_end_within_the_grace_are_given_back_and_burn_no_attempt(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1", "--grace-seconds", "0.2") as server:
        with Client(server.url) as client:
            task = client.submit("steps", gate=str(tmp_path / "gate"))
            waiting = client.submit("steps", gate=str(tmp_path / "gate"))
            until(lambda: task.status().status == "RUNNING", "it runs")
        assert server.terminate() == 0
    (tmp_path / "gate").touch()
    with Server(JOBS, tmp_path / "data", "--workers", "1") as again, Client(again.url) as client:
        for each in (task, waiting):
            assert client.task(each.id).result(60) == "through"
            assert client.get(each.id).attempt == 1


@pytest.mark.story
def test_a_second_interrupt_stops_at_once_and_loses_nothing(tmp_path: Path) -> None:
    leases = ("--lease-seconds", "1", "--heartbeat-seconds", "0.3")
    with Server(JOBS, tmp_path / "data", "--workers", "1", "--grace-seconds", "600", *leases) as server:
        with Client(server.url) as client:
            task = client.submit("steps", gate=str(tmp_path / "gate"))
            until(lambda: task.status().status == "RUNNING", "it runs")
        os.kill(server.pid, signal.SIGINT)
        until(lambda: "stopping on Ctrl-C" in server.log(), "it says that it stops")
        os.kill(server.pid, signal.SIGINT)
        assert server.process is not None and server.process.wait(PATIENCE_SECONDS) == 130
    (tmp_path / "gate").touch()
    with Server(JOBS, tmp_path / "data", "--workers", "1", *leases) as again, Client(again.url) as client:
        assert client.task(task.id).result(60) == "through"


def test_reload_serves_the_new_code_and_clients_just_wait(tmp_path: Path) -> None:
    jobs = tmp_path / "changing.py"
    text = "import offload\n@offload.job\ndef answer() -> int:\n    return {}\n"
    jobs.write_text(text.format(1))
    with Server(jobs, tmp_path / "data", "--workers", "1", "--reload") as server:
        with Client(server.url, timeout_seconds=60) as client:
            assert client.call("answer") == 1
            saved(jobs, text.format(2))
            until(lambda: client.call("answer") == 2, "the new code answers")  # no call fails meanwhile
            saved(jobs, "def broken(:\n")
            until(lambda: "starts again after the next change" in server.log(), "the mistake is told")
            assert "changing.py:1: SyntaxError" in server.log()
            answers: list[int] = []
            waiting = threading.Thread(target=lambda: answers.append(client.call("answer")))
            waiting.start()
            saved(jobs, text.format(3))
            waiting.join(PATIENCE_SECONDS)
            assert answers == [3]
        assert server.terminate() == 0


def saved(path: Path, text: str) -> None:
    """Write a file as editors do: it is never there in part."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


@pytest.mark.long
@pytest.mark.story
def test_reload_gives_running_tasks_to_the_new_code(tmp_path: Path) -> None:
    jobs = tmp_path / "changing.py"
    jobs.write_text("import offload, time\n@offload.job\ndef answer() -> int:\n    while True: time.sleep(0.1)\n")
    with Server(jobs, tmp_path / "data", "--workers", "1", "--reload") as server, Client(server.url) as client:
        task = client.submit("answer")
        until(lambda: task.status().status == "RUNNING", "it runs")
        saved(jobs, "import offload\n@offload.job\ndef answer() -> int:\n    return 5\n")
        assert task.result(60) == 5


def test_a_server_whose_reloader_died_stops_too(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1", "--reload") as server:
        with Client(server.url) as client:
            assert client.call("add", a=1) == 2
        server.kill()
        with Client(server.url, timeout_seconds=0.5, retries=0) as client:
            until(lambda: _gone(client), "nobody serves any more")


def _gone(client: Client) -> bool:
    try:
        client.call("add", a=1, wait_seconds=0)
    except WaitTimeout:
        return False
    except Exception as error:
        return "cannot be reached" in str(error)
    return False
