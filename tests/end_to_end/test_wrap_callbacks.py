"""A wrapped application that reports back: what its callbacks bring is what the application answered."""

import asyncio
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offload.testing import Received, Receiver
from tests.backends.free_port import free_port
from tests.egress.zoo import Zoo
from tests.end_to_end import wrapped_flask
from tests.end_to_end.talking import Answer, ask, call_wsgi, ended
from tests.servers import Server
from tests.unit.engine.test_uploads import Taking

pytestmark = pytest.mark.story

HERE = Path(__file__).parent
FLASK = f"{HERE / 'wrapped_flask.py'}:app"
FLAGS = ("--workers", "2", "--prefix", "/offload", "--egress-allow", "127.0.0.1")


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(FLASK, tmp_path_factory.mktemp("wrapped") / "data", *FLAGS, command="wrap") as server:
        yield server


def secret_of(server: Server) -> str:
    return str(ask(server.url, "/offload/v1/callbacks/secret").json["secret"])


def asked_for(server: Server, path: str, callback: str, body: str = "result", method: str = "GET") -> Answer:
    fields = {
        "Prefer": "respond-async, return=minimal",
        "Offload-Callback": callback,
        "Offload-Callback-Body": body,
    }
    return ask(server.url, path, method, b"name=anna" if method == "POST" else None, fields.items())


def told(server: Server, path: str) -> Received:
    with Receiver(secret=secret_of(server)) as receiver:
        assert asked_for(server, path, receiver.url).status == 204
        (came,) = receiver.wait_for(1)
        assert not receiver.refused
        return came


@pytest.mark.parametrize("path", ["/", "/teapot", "/cookies", "/encoded", "/empty", "/stream", "/forbidden", "/broken"])
def test_a_callback_brings_the_applications_own_answer(wrapped: Server, path: str) -> None:
    direct, came = call_wsgi(wrapped_flask.app, path), told(wrapped, path)
    assert came.body == direct.body
    assert came.headers["offload-response-status"] == str(direct.status)
    assert came.headers["content-type"] == (direct["content-type"] or "application/octet-stream")
    assert came.headers.get("content-encoding", "") == direct["content-encoding"]
    assert came.headers["offload-task-status"] == "DONE"
    assert "set-cookie" not in came.headers and "x-twice" not in came.headers


def test_a_large_answer_is_read_from_its_file_and_signed(tmp_path: Path) -> None:
    app = tmp_path / "large.py"
    app.write_text(
        "from flask import Flask, Response\napp = Flask(__name__)\n"
        "@app.get('/large')\ndef large():\n    return Response(bytes(range(256)) * 20_000, mimetype='image/png')\n"
    )
    with Server(f"{app}:app", tmp_path / "data", *FLAGS, command="wrap") as server:
        came = told(server, "/large")
    assert hashlib.sha256(came.body).digest() == hashlib.sha256(bytes(range(256)) * 20_000).digest()
    assert (came.headers["content-type"], came.headers["offload-response-status"]) == ("image/png", "200")


def test_a_callback_of_an_event_names_routes_below_the_prefix(wrapped: Server) -> None:
    with Receiver(secret=secret_of(wrapped)) as receiver:
        taken = asked_for(wrapped, "/teapot", receiver.url, body="event")
        (came,) = receiver.wait_for(1)
    assert came.json["type"] == "task.done"
    assert came.json["data"]["links"]["self"] == taken["location"]


def test_the_classic_service_around_a_stock_flask_application(tmp_path: Path) -> None:
    """204 now; the answer comes later, signed, to another stock Flask application."""
    kept = tmp_path / "kept"
    kept.mkdir()
    port = free_port()
    with Server(FLASK, tmp_path / "data", *FLAGS, "--slow", "/report", command="wrap") as server:
        receiver = [sys.executable, str(HERE / "flask_receiver.py"), str(kept), secret_of(server), str(port)]
        with subprocess.Popen(receiver, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as flask:
            try:
                accepted = asked_for(server, "/report?seconds=0.2", f"http://127.0.0.1:{port}/hook")
                assert (accepted.status, accepted.body) == (204, b"")
                assert accepted["location"].startswith("/offload/v1/tasks/")
                assert "return=minimal" in accepted["preference-applied"]
                found = kept / f"DONE-{accepted['location'].rpartition('/')[2]}"
                until = time.monotonic() + 60
                while not found.exists():
                    assert time.monotonic() < until and flask.poll() is None, ended(server.url, accepted["location"])
                    time.sleep(0.02)
            finally:
                flask.terminate()
    kind, _, body = found.read_bytes().partition(b"\n")
    assert (kind, json.loads(body)) == (b"application/json", {"rows": 3, "asked_by": None})
    assert json.loads(Path(f"{found}.headers").read_text())["Offload-Response-Status"] == "200"


@pytest.mark.parametrize(("path", "first"), [("/", ()), ("/binary", ("500 No",)), ("/encoded", ()), ("/empty", ())])
async def test_the_url_for_the_answer_gets_the_applications_own_body(
    wrapped: Server, path: str, first: tuple[str, ...]
) -> None:
    async with Zoo({"/there": Taking(*first)}).open() as zoo:
        task = await asyncio.to_thread(sent_on, wrapped, path, zoo.url("/there"))
        assert task["status"] == "DONE" and len(zoo.visits) == len(first) + 1
        direct, came = call_wsgi(wrapped_flask.app, path), zoo.visits[-1]
        assert came.body == direct.body
        assert came.headers["content-type"] == (direct["content-type"] or "application/octet-stream")
        assert came.headers.get("content-encoding", "") == direct["content-encoding"]
        assert "set-cookie" not in came.headers


@pytest.mark.parametrize("path", ["/teapot", "/broken", "/away"])
async def test_an_answer_that_is_no_success_is_sent_nowhere_and_can_be_read(wrapped: Server, path: str) -> None:
    async with Zoo({"/there": Taking()}).open() as zoo:
        task = await asyncio.to_thread(sent_on, wrapped, path, zoo.url("/there"))
    assert (task["status"], task["reason"]) == ("FAILED", "upload_failed") and not zoo.visits
    assert task["error"]["type"] == "ResponseNotSent" and task["attempt"] == 1
    kept = await asyncio.to_thread(ask, wrapped.url, f"/offload/v1/tasks/{task['id']}/result")
    direct = call_wsgi(wrapped_flask.app, path)
    assert (kept.status, kept.body) == (direct.status, direct.body)
    assert kept["offload-task-status"] == "FAILED"


def sent_on(server: Server, path: str, url: str) -> Any:
    fields = {"Prefer": "respond-async, return=minimal", "Offload-Upload-To": url}
    accepted = ask(server.url, path, "GET", None, fields.items())
    assert accepted.status == 204, accepted
    return ended(server.url, accepted["location"])
