"""Keys beside a wrapped application: its requests count in the quotas of whoever sends them, and no log tells a key."""

from pathlib import Path

import pytest

from tests.end_to_end.talking import Answer, ask, ended
from tests.end_to_end.test_keys import made
from tests.servers import Server

pytestmark = pytest.mark.story

FLASK = f"{Path(__file__).parent / 'wrapped_flask.py'}:app"


def later(server: Server, token: str, path: str, body: bytes | None = None) -> Answer:
    method = "GET" if body is None else "PUT"
    return ask(server.url, path, method, body, [("Authorization", f"Bearer {token}"), ("Prefer", "respond-async")])


def test_wrapped_requests_count_in_the_quotas_of_their_key(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    few = made(tmp_path, "--owner", "anna", "--scopes", "submit,read", "--tasks", "1", *data)
    small = made(tmp_path, "--owner", "bela", "--scopes", "submit,read", "--bytes", "1000", *data)
    slow = made(tmp_path, "--owner", "cleo", "--scopes", "submit,read", "--rate", "1/h", *data)
    (tmp_path / "marks").mkdir()
    with Server(
        FLASK, tmp_path / "data", "--workers", "1", "--log-level", "debug",
        env={"MARKS": str(tmp_path / "marks")}, command="wrap",
    ) as server:  # fmt: skip
        taken = later(server, few, "/mark/held", b"x")
        assert taken.status == 202
        over = later(server, few, "/teapot")
        assert (over.status, over.json["code"]) == (429, "QuotaExceeded") and over["retry-after"]
        assert later(server, small, "/size", b"x" * 2_000).json["code"] == "QuotaExceeded"
        assert later(server, small, "/teapot").status == 202
        assert later(server, slow, "/teapot").status == 202
        late = later(server, slow, "/teapot")
        assert (late.status, late["ratelimit-policy"]) == (429, '"requests";q=1;w=3600')
        assert ask(server.url, "/teapot", headers=[("Authorization", f"Bearer {slow}")]).status == 418  # not a task
        (tmp_path / "marks" / "held.go").touch()
        until_done(server, few, taken["location"])
        assert later(server, few, "/teapot").status == 202
    for token in (few, small, slow):
        assert token not in server.log() and token.removeprefix("ofl_")[:20] not in server.log()


def until_done(server: Server, token: str, location: str) -> None:
    bearer = [("Authorization", f"Bearer {token}")]
    while ask(server.url, location + "?wait=10", headers=bearer).json["status"] not in ("DONE", "FAILED"):
        pass


@pytest.mark.long
def test_no_log_line_tells_what_a_request_kept_secret(tmp_path: Path) -> None:
    secrets = [("Authorization", "Bearer sesame-1"), ("Cookie", "sid=sesame-2"), ("X-Api-Key", "sesame-3"),
               ("Proxy-Authorization", "Basic sesame-4")]  # fmt: skip
    for form in ("console", "json"):
        flags = ("--workers", "1", "--log-level", "debug", "--log-format", form)
        with Server(FLASK, tmp_path / form, *flags, command="wrap") as server:
            for path in ("/broken", "/echo/x", "/nowhere"):
                ask(server.url, path, headers=secrets)
                taken = ask(server.url, path, headers=[*secrets, ("Prefer", "respond-async")])
                ended(server.url, taken["location"])
                assert "sesame" not in ask(server.url, taken["location"] + "/logs").body.decode()
        assert "sesame" not in server.log()
