"""Stock web applications behind `offload wrap`: unchanged answers, now or later."""

import hashlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.end_to_end import wrapped_django, wrapped_fastapi, wrapped_flask
from tests.end_to_end.talking import Answer, ask, call_asgi, call_wsgi, ended, later
from tests.servers import Server

pytestmark = pytest.mark.story

HERE = Path(__file__).parent
FLASK = f"{HERE / 'wrapped_flask.py'}:app"
FASTAPI = f"{HERE / 'wrapped_fastapi.py'}:app"
DJANGO = f"{HERE / 'wrapped_django.py'}:application"
SECRET = "Bearer sesame-open-42"


@pytest.fixture(scope="module")
def flask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("flask")
    flags = ("--slow", "/report", "--slow", "POST /size=1", "--workers", "2")
    with Server(FLASK, home / "data", *flags, command="wrap") as server:
        yield server


@pytest.fixture(scope="module")
def fastapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("fastapi")
    with Server(FASTAPI, home / "data", "--slow", "/transcribe", "--workers", "2", command="wrap") as server:
        yield server


def test_a_slow_route_of_a_stock_flask_application_answers_at_once_and_works_later(
    flask: Server, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    taken = ask(flask.url, f"/report?gate={gate}", headers=[("Authorization", SECRET)])
    assert taken.status == 202 and taken["location"].startswith("/v1/tasks/") and taken["retry-after"]
    assert taken.json["status"] == "QUEUED" and taken.json["max_attempts"] == 3
    early = ask(flask.url, taken["location"] + "/result")
    assert early.status == 202 and early["retry-after"]
    gate.touch()
    assert ended(flask.url, taken["location"])["status"] == "DONE"
    answer = ask(flask.url, taken["location"] + "/result")
    assert answer.status == 200 and answer["content-type"] == "application/json"
    assert answer.json == {"rows": 3, "asked_by": SECRET}


@pytest.mark.parametrize(
    "path",
    ["/", "/teapot", "/cookies", "/binary", "/encoded", "/empty", "/unchanged", "/stream", "/away", "/forbidden",
     "/broken", "/dated", "/nowhere", "/?a=%20b&a=2"],
)  # fmt: skip
def test_a_flask_answer_is_what_the_application_gives_now_and_later(flask: Server, path: str) -> None:
    direct = call_wsgi(wrapped_flask.app, path)
    assert ask(flask.url, path).told == direct.told
    assert later(flask.url, path).told == direct.told


@pytest.mark.parametrize(
    "path", ["/", "/number/7", "/number/seven", "/stream", "/cookies", "/empty", "/broken", "/docs", "/openapi.json"]
)
def test_a_fastapi_answer_is_what_the_application_gives_now_and_later(fastapi: Server, path: str) -> None:
    direct = call_asgi(wrapped_fastapi.app, path, state={"model": "loaded"})
    assert ask(fastapi.url, path).told == direct.told
    assert later(fastapi.url, path).told == direct.told


@pytest.mark.long
def test_a_django_application_is_served_as_it_is_and_later(tmp_path: Path) -> None:
    with Server(DJANGO, tmp_path / "data", "--slow", "/slow/", "--workers", "1", command="wrap") as server:
        for path in ("/", "/stream", "/cookies", "/missing", "/slow"):
            direct = call_wsgi(wrapped_django.application, path)
            assert ask(server.url, path).told == direct.told
            assert later(server.url, path).told == direct.told
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        answer = later(server.url, "/slow/", "POST", b"a=1&a=2&b=%C3%A9", form)
        assert answer.json["method"] == "POST" and answer.json["fields"] == {"a": ["1", "2"], "b": ["é"]}


def test_the_applications_own_date_and_no_second_one_is_sent(flask: Server) -> None:
    for answer in (ask(flask.url, "/dated"), later(flask.url, "/dated")):
        assert [value for name, value in answer.fields if name == "date"] == ["Thu, 01 Jan 1970 00:00:00 GMT"]
    assert len([value for name, value in ask(flask.url, "/").fields if name == "date"]) == 1


def test_head_and_options_pass_through_whatever_is_preferred(flask: Server) -> None:
    wish = [("Prefer", "respond-async")]
    direct = call_wsgi(wrapped_flask.app, "/teapot", "HEAD")
    assert ask(flask.url, "/teapot", "HEAD", headers=wish).told == replace(direct.told, body=b"")
    preflight = ask(flask.url, "/report", "OPTIONS", headers=wish)
    assert preflight.status == 200 and set(preflight["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_an_upload_to_fastapi_arrives_whole_in_its_worker(fastapi: Server) -> None:
    data = os.urandom(3_000_000)
    head = b'--x\r\nContent-Disposition: form-data; name="language"\r\n\r\nfr\r\n--x\r\n'
    part = b'Content-Disposition: form-data; name="audio"; filename="a.wav"\r\n\r\n'
    form = [("Content-Type", "multipart/form-data; boundary=x")]
    taken = ask(fastapi.url, "/transcribe", "POST", head + part + data + b"\r\n--x--\r\n", form)
    assert taken.status == 202
    assert ended(fastapi.url, taken["location"])["status"] == "DONE"
    answer = ask(fastapi.url, taken["location"] + "/result")
    told = {"name": "a.wav", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert answer.json == {**told, "language": "fr", "model": "loaded"}


def test_the_application_hears_the_request_as_it_was_sent(flask: Server) -> None:
    path, body = "/echo/a%2Fb/%C3%A9?x=1&y=%20", bytes(range(256))
    headers = [("X-Api-Key", "k"), ("Cookie", "a=1"), ("X-Thing", "one"), ("X-Thing", "two"), ("Te", "trailers"),
               ("Connection", "x-hop"), ("X-Hop", "gone"), ("Content-Encoding", "br")]  # fmt: skip
    now = ask(flask.url, path, "PATCH", body, headers).json
    assert later(flask.url, path, "PATCH", body, headers).json == now
    assert ("x-hop", "gone") not in [tuple(field) for field in now["headers"]] and now["body"] == body.hex()
    chunked = later(flask.url, path, "PUT", iter([b"one", b"two"])).json
    assert chunked["body"] == b"onetwo".hex() and ["content-length", "6"] in chunked["headers"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_application_may_read_the_body_of_a_request_that_has_none(flask: Server, method: str) -> None:
    for answer in (ask(flask.url, "/echo/x", method), later(flask.url, "/echo/x", method)):
        assert (answer.json["method"], answer.json["body"]) == (method, "")


@pytest.mark.long
def test_secrets_reach_the_application_and_are_shown_nowhere(tmp_path: Path) -> None:
    secrets = [("Authorization", SECRET), ("Cookie", "session=open-sesame"), ("X-Api-Key", "key-open-sesame")]
    with Server(FLASK, tmp_path / "data", "--workers", "1", command="wrap") as server:
        taken = ask(server.url, "/echo/x", "POST", b"hello", [*secrets, ("Prefer", "respond-async")])
        ended(server.url, taken["location"])
        heard = ask(server.url, taken["location"] + "/result").json["headers"]
        assert [name.lower() for name, value in secrets if [name.lower(), value] not in heard] == []
        shown = [taken, *(ask(server.url, taken["location"] + part) for part in ("", "/logs", "/input/secrets"))]
        shown += [ask(server.url, "/v1/tasks"), ask(server.url, "/broken", headers=secrets)]
        shown += [ask(server.url, taken["location"] + "/input/body")]
        assert shown[-1].body == b"hello" and shown[3].status == 404
        for answer in shown:
            assert b"sesame" not in answer.body
        assert b"[redacted]" in shown[0].body
    assert "sesame" not in server.log()


def test_waiting_answers_directly_when_the_application_is_fast(flask: Server) -> None:
    direct = call_wsgi(wrapped_flask.app, "/cookies")
    answer = ask(flask.url, "/cookies", headers=[("Prefer", "respond-async, wait=30")])
    assert answer.told == direct.told and answer["preference-applied"] == "respond-async, wait=30"
    assert answer["offload-task-id"]
    slow = ask(flask.url, "/report?seconds=3", headers=[("Prefer", "respond-async, wait=0.2")])
    assert slow.status == 202
    redirected = ask(flask.url, "/away", headers=[("Prefer", "respond-async, wait=30")])
    assert redirected["location"] == "/elsewhere?x=1"


def test_minimal_answers_have_no_body(flask: Server) -> None:
    answer = ask(flask.url, "/", headers=[("Prefer", "respond-async, return=minimal")])
    assert answer.status == 204 and answer.body == b"" and answer["location"]


def test_a_request_is_tried_once_unless_it_may_be_repeated(flask: Server) -> None:
    wish = ("Prefer", "respond-async")
    tries = {
        method: ask(flask.url, "/echo/x", method, headers=[wish]).json["max_attempts"]
        for method in ("GET", "PUT", "DELETE", "POST", "PATCH")
    }
    assert tries == {"GET": 3, "PUT": 3, "DELETE": 3, "POST": 1, "PATCH": 1}
    keyed = ask(flask.url, "/echo/x", "POST", headers=[wish, ("Idempotency-Key", "once")])
    assert keyed.json["max_attempts"] == 3


def test_an_idempotency_key_finds_the_task_again_for_the_same_client_only(flask: Server) -> None:
    def post(body: bytes, who: str) -> Answer:
        keys = [("Idempotency-Key", "k-7"), ("Authorization", who), ("Prefer", "respond-async")]
        return ask(flask.url, "/echo/x", "POST", body, keys)

    first, again, other = post(b"a", "ann"), post(b"a", "ann"), post(b"a", "bob")
    assert again["location"] == first["location"] and again["idempotency-replayed"] == "true"
    assert other.status == 202 and other["location"] != first["location"]
    assert post(b"b", "ann").json["code"] == "IdempotencyKeyReused"


def test_direct_bodies_stream_in_both_directions(flask: Server) -> None:
    sent = (b"x" * 65536 for _ in range(64))
    assert ask(flask.url, "/echo/size", "PUT", sent).json["body"] == (b"x" * 65536 * 64).hex()
    with socket.create_connection((urlsplit(flask.url).hostname or "", urlsplit(flask.url).port or 0), 30) as link:
        link.sendall(b"GET /ticks HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heard = b""
        while heard.count(b"tick") < 3:  # the answer never ends, so these came while it was made
            heard += link.recv(4096)


def test_a_route_with_a_line_of_its_own_waits_in_it(flask: Server) -> None:
    taken = ask(flask.url, "/size", "POST", (b"y" * 65536 for _ in range(32)))
    assert taken.json["job"] == taken.json["queue"] == "request-size"
    ended(flask.url, taken["location"])
    assert ask(flask.url, taken["location"] + "/result").json == {"bytes": 32 * 65536}


def test_no_task_is_made_but_by_a_request_to_the_application(flask: Server) -> None:
    made = {"job": "request", "input": {"request": {"method": "GET", "path": "/admin"}}}
    assert ask(flask.url, "/v1/tasks", "POST", str(made).encode()).status == 405
    assert ask(flask.url, "/v1/tasks/batch", "POST", b"{}").status in (400, 404, 405)
    assert ask(flask.url, "/v1/jobs/request", "POST", b"{}").told == call_wsgi(wrapped_flask.app, "/v1/jobs/x").told
    assert ask(flask.url, "/healthz").told == call_wsgi(wrapped_flask.app, "/healthz").told


def test_the_javascript_client_lies_beside_the_tasks(flask: Server) -> None:
    for name, kind in (
        ("client.js", "text/javascript"),
        ("client/events.js", "text/javascript"),
        ("client.d.ts", "text/"),
    ):
        found = ask(flask.url, f"/v1/tasks/{name}")
        assert found.status == 200 and found["content-type"].startswith(kind) and found["etag"]
        assert ask(flask.url, f"/{name}").told == call_wsgi(wrapped_flask.app, f"/{name}").told
    assert ask(flask.url, "/v1/tasks/client/nosuch.js").status == 404


@pytest.mark.long
def test_with_a_prefix_every_route_of_ours_is_below_it(tmp_path: Path) -> None:
    with Server(FLASK, tmp_path / "data", "--prefix", "/offload", "--workers", "1", command="wrap") as server:
        taken = ask(server.url, "/cookies", headers=[("Prefer", "respond-async")])
        assert taken["location"].startswith("/offload/v1/tasks/")
        assert all(link.startswith(taken["location"]) for link in taken.json["links"].values())
        ended(server.url, taken["location"])
        direct = call_wsgi(wrapped_flask.app, "/cookies")
        assert ask(server.url, taken.json["links"]["result"]).told == direct.told
        assert ask(server.url, "/offload/readyz").status == 200
        assert ask(server.url, "/offload/client.js")["content-type"].startswith("text/javascript")
        assert ask(server.url, "/v1/tasks").told == call_wsgi(wrapped_flask.app, "/v1/tasks").told
        assert ask(server.url, "/offload/v1/jobs/request", "POST", b"{}").status in (404, 405)


def test_a_full_line_refuses_before_the_body_is_read(tmp_path: Path) -> None:
    env = {"MARKS": str(tmp_path)}
    flags = ("--workers", "1", "--queue-tasks-max", "2")
    with Server(FLASK, tmp_path / "data", *flags, command="wrap", env=env) as server:
        wish = [("Prefer", "respond-async")]
        taken = [ask(server.url, "/mark/full", "POST", b"", wish) for _ in range(3)]
        assert [answer.status for answer in taken] == [202, 202, 503]
        assert taken[2].json["code"] == "QueueFull"
        assert ask(server.url, "/").status == 200
        (tmp_path / "full.go").touch()
        for answer in taken[:2]:
            assert ended(server.url, answer["location"])["status"] == "DONE"


def test_a_killed_worker_fails_a_post_and_repeats_a_put(tmp_path: Path) -> None:
    with Server(FLASK, tmp_path / "data", "--workers", "2", command="wrap", env={"MARKS": str(tmp_path)}) as server:
        wish = [("Prefer", "respond-async")]
        posted = ask(server.url, "/mark/post", "POST", b"1", wish)["location"]
        put = ask(server.url, "/mark/put", "PUT", b"1", wish)["location"]
        for name in ("post", "put"):
            os.kill(running(tmp_path / f"{name}.runs"), signal.SIGKILL)
        (tmp_path / "put.go").touch()
        task = ended(server.url, posted)
        assert (task["status"], task["reason"], task["attempt"]) == ("FAILED", "worker_lost", 1)
        assert ask(server.url, posted + "/result").json["code"] == "TaskFailed"
        assert ended(server.url, put)["status"] == "DONE"
        assert ask(server.url, put + "/result").body == b"put went on"


def test_a_killed_server_loses_no_request(tmp_path: Path) -> None:
    env, flags = {"MARKS": str(tmp_path)}, ("--workers", "1", "--lease-seconds", "2", "--heartbeat-seconds", "0.5")
    wish = [("Prefer", "respond-async")]
    with Server(FLASK, tmp_path / "data", *flags, command="wrap", env=env) as server:
        first = ask(server.url, "/mark/first", "PUT", b"1", wish)["location"]
        running(tmp_path / "first.runs")
        second = ask(server.url, "/echo/second", "POST", b"two", wish)["location"]
        server.kill()
    (tmp_path / "first.go").touch()
    with Server(FLASK, tmp_path / "data", *flags, command="wrap", env=env) as server:
        assert ended(server.url, first)["status"] == ended(server.url, second)["status"] == "DONE"
        assert ask(server.url, first + "/result").body == b"first went on"
        assert ask(server.url, second + "/result").json["body"] == b"two".hex()


def running(runs: Path) -> int:
    """Return the process that runs a marked request, once it does."""
    until = time.monotonic() + 60
    while not (runs.exists() and runs.read_text().strip()):
        assert time.monotonic() < until
        time.sleep(0.02)
    pid = int(runs.read_text().split()[0])
    assert psutil.pid_exists(pid)
    return pid
