"""A real upstream process behind `offload proxy`: unchanged answers, now or later, and honest ones when it is down."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.backends.free_port import free_port
from tests.backends.waiting import wait_until
from tests.end_to_end.bare_upstream import BINARY, Answers
from tests.end_to_end.talking import ask, ended, later
from tests.servers import Server

UPSTREAM = Path(__file__).parent / "bare_upstream.py"
WISH = ("Prefer", "respond-async")


@contextmanager
def upstream(port: int = 0, **environment: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    env = {**os.environ, **environment}
    with subprocess.Popen(
        [sys.executable, str(UPSTREAM), str(port)], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process
        finally:
            process.kill()


@contextmanager
def back_again(port: int) -> Iterator[None]:
    """Let an upstream be there at once: one that has to start may come after the last try."""
    with ThreadingHTTPServer(("127.0.0.1", port), Answers) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Yield the addresses of a proxy and of the upstream behind it."""
    home = tmp_path_factory.mktemp("proxy")
    with upstream() as (behind, _):
        with Server(behind, home / "data", "--slow", "/slow", "--workers", "4", command="proxy") as server:
            yield server.url, behind


@pytest.mark.parametrize(
    "path",
    ["/cookies", "/binary", "/away", "/unchanged", "/empty", "/fault", "/stream", "/nowhere/a%2Fb/%C3%A9?x=%20&x=/",
     "/a//b/../c"],
)  # fmt: skip
def test_an_answer_is_what_the_upstream_gives_now_and_later(both: tuple[str, str], path: str) -> None:
    url, behind = both
    direct = ask(behind, path).told
    kept = [(name, value) for name, value in direct.fields if name not in ("x-hop",)]
    for answer in (ask(url, path), later(url, path)):
        assert (answer.status, answer.told.fields, answer.body) == (direct.status, kept, direct.body)
    assert path != "/binary" or direct.body == BINARY


def test_the_upstreams_own_date_and_no_second_one_is_sent(both: tuple[str, str]) -> None:
    for answer in (ask(both[0], "/cookies"), later(both[0], "/cookies")):
        assert [value for name, value in answer.fields if name == "date"] == ["Thu, 01 Jan 1970 00:00:00 GMT"]


@pytest.mark.story
def test_a_slow_route_answers_at_once_and_is_asked_later(both: tuple[str, str]) -> None:
    taken = ask(both[0], "/slow", headers=[("Authorization", "Bearer sesame")])
    assert taken.status == 202 and b"sesame" not in taken.body
    assert ended(both[0], taken["location"])["status"] == "DONE"
    answer = ask(both[0], taken["location"] + "/result")
    assert (answer.status, answer.body) == (201, b"slow, Bearer sesame")


def test_the_upstream_hears_the_request_as_it_was_sent(both: tuple[str, str]) -> None:
    headers = [("Host", "shop.example"), ("Cookie", "a=1"), ("X-Two", "1"), ("X-Two", "2"), ("Accept", "x/y"),
               ("Connection", "x-mine"), ("X-Mine", "1"), ("Content-Encoding", "br")]  # fmt: skip
    body = bytes(range(256)) * 5000
    for told in (
        ask(both[0], "/a%2Fb?q=1", "POST", body, headers),
        later(both[0], "/a%2Fb?q=1", "POST", body, headers),
    ):
        head, _, heard = told.body.partition(b"\n\n")
        lines = head.decode().splitlines()
        assert heard == body and "POST /a%2Fb?q=1" in lines
        for line in ("host: shop.example", "cookie: a=1", "x-two: 1", "x-two: 2", "accept: x/y", "content-encoding: br",
                     f"content-length: {len(body)}", "x-forwarded-host: shop.example", "x-forwarded-for: 127.0.0.1",
                     "x-forwarded-proto: http"):  # fmt: skip
            assert line in lines, line
        names = {line.partition(":")[0] for line in lines}
        assert not names & {"x-mine", "prefer", "user-agent", "accept-encoding", "transfer-encoding"}


def test_a_body_of_unknown_length_is_streamed_to_the_upstream(both: tuple[str, str]) -> None:
    sent = ask(both[0], "/in", "PUT", (b"z" * 65536 for _ in range(64)))
    assert sent.body.partition(b"\n\n")[2] == b"z" * 65536 * 64 and b"transfer-encoding: chunked" in sent.body


def test_a_response_that_breaks_off_is_never_taken_for_a_whole_one(both: tuple[str, str]) -> None:
    taken = ask(both[0], "/cut", "DELETE", headers=[WISH, ("Offload-Tags", "kind=cut")])
    task = ended(both[0], taken["location"])
    assert task["status"] == "FAILED" and task["error"]["type"] == "UpstreamUnreachable"
    assert task["tags"] == {"kind": "cut"}


@pytest.mark.long
@pytest.mark.story
def test_an_upstream_that_is_down_is_a_502_now_and_a_failed_task_later(tmp_path: Path) -> None:
    port = free_port()
    with Server(f"http://127.0.0.1:{port}", tmp_path / "data", "--workers", "1", command="proxy") as server:
        answer = ask(server.url, "/cookies")
        assert answer.status == 502 and answer.json["code"] == "UpstreamUnreachable"
        posted = ask(server.url, "/cookies", "POST", b"x", [WISH])
        task = ended(server.url, posted["location"])
        assert (task["status"], task["reason"], task["attempt"]) == ("FAILED", "error", 1)
        assert task["error"]["type"] == "UpstreamUnreachable"
        told = ask(server.url, posted["location"] + "/result")
        assert told.status == 409 and told.json["code"] == "TaskFailed"
        got = ask(server.url, "/cookies", headers=[WISH])["location"]
        wait_until(lambda: ask(server.url, got).json["attempt"] == 1, seconds=60, what="the first try")
        with back_again(port):  # what may be repeated finds it when it is back
            task = ended(server.url, got)
        assert task["status"] == "DONE" and task["attempt"] > 1


@pytest.mark.long
@pytest.mark.story
def test_requests_to_the_upstream_run_as_many_at_a_time_as_was_said(tmp_path: Path) -> None:
    with upstream(MARKS=str(tmp_path)) as (behind, _):
        with Server(behind, tmp_path / "data", "--workers", "2", command="proxy") as server:
            tasks = [ask(server.url, "/mark", headers=[WISH])["location"] for _ in range(4)]
            runs = tmp_path / "runs"
            wait_for_lines(runs, 2)
            states = [ask(server.url, task).json["status"] for task in tasks]
            assert states == ["RUNNING", "RUNNING", "QUEUED", "QUEUED"]
            (tmp_path / "go").touch()
            assert [ended(server.url, task)["status"] for task in tasks] == ["DONE"] * 4
            assert len(runs.read_text().splitlines()) == 4


@pytest.mark.story
def test_a_proxy_that_is_killed_loses_no_request(tmp_path: Path) -> None:
    flags = ("--workers", "1", "--lease-seconds", "2", "--heartbeat-seconds", "0.5")
    with upstream(MARKS=str(tmp_path)) as (behind, _):
        with Server(behind, tmp_path / "data", *flags, command="proxy") as server:
            got = ask(server.url, "/mark", headers=[WISH])["location"]
            wait_for_lines(tmp_path / "runs", 1)
            queued = ask(server.url, "/in", "POST", b"kept", [WISH])["location"]
            children = psutil.Process(server.pid).children()
            server.kill()
            psutil.wait_procs(children, timeout=30)
        (tmp_path / "go").touch()
        with Server(behind, tmp_path / "data", *flags, command="proxy") as server:
            assert ended(server.url, got)["status"] == "DONE"
            assert ask(server.url, got + "/result").body == b"went on"
            assert ended(server.url, queued)["status"] == "DONE"
            assert ask(server.url, queued + "/result").body.endswith(b"\n\nkept")


def wait_for_lines(path: Path, count: int) -> None:
    def there() -> bool:
        return path.exists() and len(path.read_text().splitlines()) >= count

    wait_until(there, seconds=60, what=f"{count} lines in {path.name}")
