"""The commands that talk to a server, look at files of jobs, or show settings: output, messages, exit codes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server

JOBS = Path(__file__).parent / "client_jobs.py"
COMMAND_SECONDS = 120.0


class Shell:
    """Runs `offload` in a directory of its own, with one server to talk to."""

    def __init__(self, home: Path, url: str = "") -> None:
        self.home = home
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("OFFLOAD_")}
        if url:
            self.env["OFFLOAD_URL"] = url

    def __call__(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "offload", *words],
            cwd=self.home,
            env=self.env,
            input=given,
            capture_output=True,
            timeout=COMMAND_SECONDS,
        )

    def says(self, *words: str, given: bytes = b"") -> str:
        """Return the output of a command that must succeed."""
        done = self(*words, given=given)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def until(self, text: str, *words: str) -> str:
        """Repeat a command until its output holds `text`."""
        deadline = time.monotonic() + COMMAND_SECONDS
        while text not in (said := self.says(*words)):
            assert time.monotonic() < deadline, said
        return said

    def refuses(self, code: int, *words: str) -> str:
        """Return what a command that must fail says on standard error; it prints nothing, and no traceback."""
        done = self(*words)
        told = done.stderr.decode()
        assert (done.returncode, done.stdout) == (code, b""), told
        assert "Traceback" not in told
        return told


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Server(JOBS, tmp_path_factory.mktemp("cli") / "data", "--workers", "2") as server:
        yield server.url


@pytest.fixture
def offload(url: str, tmp_path: Path) -> Shell:
    return Shell(tmp_path, url)


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.long
@pytest.mark.story
def test_call_prints_a_json_result(offload: Shell) -> None:
    assert offload.says("call", "add", "a=2", "b=40") == "42\n"
    assert json.loads(offload.says("call", "numbers", "count=3")) == [0, 1, 2]
    offload.says("call", "add", "a=1", "-o", "sum.json")
    assert (offload.home / "sum.json").read_text() == "2\n"


def test_words_and_flags_may_come_in_any_order(offload: Shell) -> None:
    (offload.home / "in.txt").write_bytes(b"hi")
    assert offload.says("call", "upper", "-F", "file=@in.txt", "times=2", "-o", "-") == "HIHI"


def test_a_file_result_is_saved_under_its_own_name_and_overwrites_nothing(offload: Shell) -> None:
    (offload.home / "in.txt").write_bytes(b"hi")
    assert offload.says("call", "upper", "-F", "file=@in.txt") == "upper.txt\n"
    assert (offload.home / "upper.txt").read_bytes() == b"HI"
    (offload.home / "upper.txt").write_bytes(b"mine")
    assert "upper.txt is already there" in offload.refuses(1, "call", "upper", "-F", "file=@in.txt")
    assert (offload.home / "upper.txt").read_bytes() == b"mine"
    offload.says("call", "upper", "-F", "file=@in.txt", "-o", "upper.txt")
    assert (offload.home / "upper.txt").read_bytes() == b"HI"


@pytest.mark.long
@pytest.mark.story
def test_a_file_may_come_from_standard_input(offload: Shell) -> None:
    assert offload.says("call", "upper", "-F", "file=@-", "-o", "-", given=b"piped") == "PIPED"


def test_several_files_are_a_list(offload: Shell) -> None:
    for name in ("a", "b"):
        (offload.home / name).write_bytes(name.encode() * 3)
    result = json.loads(offload.says("call", "sizes", "-F", "files=@a", "-F", "files=@b", "prefix=x"))
    assert result["names"] == ["xa", "xb"]


def test_mistakes_are_told_line_by_line_with_exit_code_2(offload: Shell) -> None:
    told = offload.refuses(2, "call", "add", "a=x", "c=1")
    assert "\n  a: " in told and "\n  c: " in told
    assert "there is no job 'ad'; this server has add" in offload.refuses(2, "call", "ad")
    assert "did you mean --priority?" in offload.refuses(2, "call", "add", "--priorty", "3")
    assert "did you mean serve?" in offload.refuses(2, "srve")
    assert "write name=value" in offload.refuses(2, "call", "add", "oops")
    assert "is given twice" in offload.refuses(2, "call", "add", "a=1", "a=2")
    assert "is not a task id" in offload.refuses(2, "tasks", "show", "123")
    assert "missing.txt" in offload.refuses(1, "call", "upper", "-F", "file=@missing.txt")
    assert "not the address of a server" in offload.refuses(2, "queues", "--url", "nonsense")


def test_failed_work_has_exit_code_1_and_says_where_its_logs_are(offload: Shell) -> None:
    told = offload.refuses(1, "call", "fail", "why=because")
    assert "because" in told
    task_id = told.rpartition("offload tasks logs ")[2].strip()
    assert "about to fail" in offload.says("tasks", "logs", task_id)
    assert "Reject" in offload.says("tasks", "show", task_id)
    assert "1 attempt" not in offload.says("tasks", "retry", task_id)


def test_a_server_that_is_not_there_is_told_without_a_traceback(alone: Shell) -> None:
    told = alone.refuses(1, "call", "add", "a=1", "--url", "http://127.0.0.1:9", "--timeout", "1")
    assert "http://127.0.0.1:9: cannot be reached" in told and "is `offload serve` running there?" in told
    with_trace = alone("call", "add", "--url", "http://127.0.0.1:9", "--timeout", "1", "--debug")
    assert b"Traceback" in with_trace.stderr


@pytest.mark.long
@pytest.mark.story
def test_tasks_can_be_listed_shown_canceled_retried_and_deleted(offload: Shell) -> None:
    gate = offload.home / "gate"
    task_id = offload.says("call", "steps", f"gate={gate}", "--no-wait", "--tag", "who=cli", "--priority", "3").strip()
    assert task_id in offload.says("tasks", "list", "--job", "steps", "--tag", "who=cli")
    shown = json.loads(offload.says("tasks", "show", task_id, "--json"))
    assert (shown["job"], shown["priority"], shown["tags"]) == ("steps", 3, {"who": "cli"})
    offload.says("tasks", "cancel", task_id)
    offload.until("CANCELED", "tasks", "show", task_id)
    gate.touch()
    assert "QUEUED" in offload.says("tasks", "retry", task_id)
    offload.until("DONE", "tasks", "show", task_id)
    assert offload.says("tasks", "list", "--status", "done", "--tag", "who=cli", "--ids").split() == [task_id]
    assert "DELETED" in offload.says("tasks", "delete", task_id)
    assert "there is no task" in offload.refuses(1, "tasks", "show", "8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34")


def test_what_a_job_says_cannot_steer_the_terminal(offload: Shell) -> None:
    gate = offload.home / "gate"
    task_id = offload.says("call", "steps", f"gate={gate}", "--no-wait").strip()
    listed = offload.until("halfway", "tasks", "list", "--job", "steps", "--status", "RUNNING")
    assert "\x1b" not in listed
    gate.touch()
    offload.says("call", "steps", f"gate={gate}")
    assert task_id in listed


def test_queues_are_listed_paused_and_resumed(offload: Shell) -> None:
    assert "paused" in offload.says("queues", "pause", "slow")
    queues = {each["name"]: each["state"] for each in json.loads(offload.says("queues", "--json"))}
    assert queues == {"default": "accepting", "slow": "paused"}
    assert "accepting" in offload.says("queues", "resume", "slow")
    assert "there is no queue 'none'" in offload.refuses(2, "queues", "pause", "none")
    assert "which queue to pause?" in offload.refuses(2, "queues", "pause")


def test_check_prints_the_jobs_and_starts_nothing(alone: Shell) -> None:
    said = alone.says("check", str(JOBS))
    assert "add(a: integer, b: integer = 1) -> integer" in said and "  Add two numbers." in said
    assert "upper(file: file, times: integer = 1) -> file" in said
    assert "sizes(files: list of file, prefix: string, note: string | null" in said
    described = {job["name"]: job for job in json.loads(alone.says("check", str(JOBS), "--json"))["jobs"]}
    assert described["add"]["input"]["required"] == ["a"]
    assert described["steps"]["queue"] == "slow"
    assert list(alone.home.iterdir()) == []


def test_check_says_what_is_wrong_line_by_line(alone: Shell) -> None:
    (alone.home / "bad.py").write_text(
        "import offload, threading\n"
        "print('imported')\n"
        "@offload.job\n"
        "def first(lock: threading.Thread) -> None: ...\n"
        "@offload.job\n"
        "def second(*things: int) -> None: ...\n"
    )
    told = alone.refuses(2, "check", "bad.py")
    assert "bad.py:3 first()" in told or "bad.py:4 first()" in told
    assert "second()" in told
    (alone.home / "broken.py").write_text("def f(:\n")
    assert "broken.py:1: SyntaxError" in alone.refuses(2, "check", "broken.py")
    (alone.home / "empty.py").write_text("")
    assert "holds no job" in alone.refuses(2, "check", "empty.py")
    assert "there is no file bda.py; did you mean bad.py?" in alone.refuses(2, "check", "bda.py")


def test_settings_are_shown_with_their_sources(alone: Shell) -> None:
    (alone.home / "offload.toml").write_text("workers = 3\n[queues.images]\ntasks_max = 5\n")
    alone.env["OFFLOAD_PAYLOAD_SECONDS"] = "2d"
    shown = json.loads(alone.says("settings", "--json", "--port", "9000"))
    assert shown["port"] == {"value": "9000", "source": "--port"}
    assert shown["payload_seconds"] == {"value": "2d", "source": "OFFLOAD_PAYLOAD_SECONDS"}
    assert shown["workers"] == {"value": "3", "source": "offload.toml, line 1: workers"}
    assert shown["queues.images.tasks_max"]["value"] == "5"
    assert shown["nice"] == {"value": "10", "source": "default"}
    assert "OFFLOAD_PAYLOAD_SECONDS" in alone.says("settings")
    assert "did you mean --port?" in alone.refuses(2, "settings", "--prot", "1")
    alone.env["OFFLOAD_PROT"] = "1"
    assert "did you mean OFFLOAD_PORT?" in alone.refuses(2, "settings")


def test_help_is_there_for_every_command(alone: Shell) -> None:
    assert "Exit codes: 0, 1 the work failed, 2 wrong use." in alone.says("--help")
    for command in ("serve", "call", "tasks", "queues", "check", "settings"):
        assert "examples:" in alone.says(command, "--help")
    assert "--queue-tasks-max" in alone.says("serve", "--help")
    assert alone.says("version").startswith("offload ")
    assert b"usage:" in alone().stderr and alone().returncode == 2
