"""`offload.wrap.asgi` inside a deployment of one's own: uvicorn serves, tasks are made and run."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import offload.wrap
from offload.core.errors import WrongSetting
from tests.backends.every_server import variables_of
from tests.end_to_end import wrapped_fastapi, wrapped_flask
from tests.end_to_end.talking import ask, call_asgi, ended, later

ROOT = Path(__file__).parents[2]


@contextmanager
def uvicorn(data: Path, log: Path) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "tests.end_to_end.mounted_app:app", "--fd", str(listener.fileno())]
        environment = {**os.environ, **variables_of(data), "MOUNTED_DATA": str(data)}
        with log.open("a") as told, subprocess.Popen(
            command, cwd=ROOT, env=environment, pass_fds=[listener.fileno()], stderr=told, stdout=told
        ) as process:  # fmt: skip
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) in (0, -signal.SIGTERM), log.read_text()


@pytest.mark.long
@pytest.mark.story
def test_an_application_that_mounts_itself_has_tasks_in_its_own_server(tmp_path: Path) -> None:
    with uvicorn(tmp_path / "data", tmp_path / "log") as url:
        for path in ("/", "/stream", "/cookies", "/broken"):
            direct = call_asgi(wrapped_fastapi.app, path, state={"model": "loaded"})
            answer = ask(url, path).told
            assert [field for field in answer.fields if field[0] != "server"] == direct.fields, path
            assert (answer.status, answer.body) == (direct.status, direct.body)
        taken = ask(url, "/number/7")
        assert taken.status == 202 and taken.json["job"] == "request-number"
        assert ended(url, taken["location"])["status"] == "DONE"
        assert ask(url, taken["location"] + "/result").body == b"7"
        answer = later(url, "/raw", "POST", bytes(range(256)))
        assert answer.status == 200 and answer.body == bytes(range(256))
        assert len([name for name, _ in answer.fields if name == "date"]) == 1
    log = (tmp_path / "log").read_text()
    assert "Application shutdown complete" in log


@pytest.mark.story
def test_tasks_outlive_the_server(tmp_path: Path) -> None:
    with uvicorn(tmp_path / "data", tmp_path / "log") as url:
        taken = ask(url, "/number/41")["location"]
    with uvicorn(tmp_path / "data", tmp_path / "log") as url:
        assert ended(url, taken)["status"] == "DONE"
        assert ask(url, taken + "/result").body == b"41"


def test_what_cannot_work_is_told_where_it_is_written() -> None:
    with pytest.raises(WrongSetting, match="offload wrap"):
        offload.wrap.asgi(wrapped_flask.app)
    with pytest.raises(WrongSetting, match="transcribe"):
        offload.wrap.asgi(wrapped_fastapi.app, slow=["transcribe"])
    with pytest.raises(WrongSetting, match="prefix"):
        offload.wrap.asgi(wrapped_fastapi.app, prefix="offload/")


def test_a_request_before_the_lifespan_says_what_is_missing() -> None:
    mounted = offload.wrap.asgi(wrapped_fastapi.app)
    with pytest.raises(WrongSetting, match="lifespan"):
        call_asgi(mounted, "/")
