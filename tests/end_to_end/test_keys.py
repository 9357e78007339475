"""`offload keys` and a server that has some: made with the server stopped or running, and nowhere to be found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from offload.client import Client
from offload.core.errors import KeyRequired, QuotaExceeded, ScopeMissing, TaskDoesNotExist, TaskFailed
from offload.core.keys import is_token
from tests.backends.every_server import variables_of
from tests.end_to_end.test_serve import JOBS, refused
from tests.servers import Server


def keys(home: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `offload keys`, on the store of the server whose data directory the words name."""
    store = variables_of(Path(words[words.index("--data") + 1])) if "--data" in words else {}
    return subprocess.run(
        [sys.executable, "-m", "offload", "keys", *words],
        cwd=home, env={**os.environ, **store, **env}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def made(home: Path, *words: str, **env: str) -> str:
    done = keys(home, "create", *words, **env)
    assert done.returncode == 0, done.stderr
    assert is_token(done.stdout.strip()) and "this once" in done.stderr and done.stdout.strip() not in done.stderr
    return done.stdout.strip()


def test_beyond_loopback_only_with_keys(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        code, output, told = refused(tmp_path, str(JOBS), "--host", host, "--port", "0", *data)
        assert (code, output) == (2, "") and "is not a loopback address" in told and "offload keys create" in told
    token = made(tmp_path, "--owner", "anna", "--scopes", "submit,read", *data)
    assert refused(tmp_path, str(JOBS), "--host", "example.org", "--port", "0", *data)[0] == 2
    flags = ("--workers", "1", "--host", "0.0.0.0", "--hosts", "offload.test")
    with Server(JOBS, tmp_path / "data", *flags) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        bearer = {"authorization": f"Bearer {token}"}
        assert httpx2.get(f"{url}/v1/jobs").status_code == 401
        assert httpx2.get(f"{url}/healthz").status_code == 200
        assert httpx2.get(f"{url}/v1/jobs", headers=bearer).status_code == 200
        assert httpx2.get(f"{url}/v1/jobs", headers={**bearer, "host": "offload.test"}).status_code == 200
        assert httpx2.get(f"{url}/v1/jobs", headers={**bearer, "host": "other.test"}).status_code == 421
        with Client(url, api_key=token) as client:
            assert client.call("add", a=2, b=3) == 5


@pytest.mark.long
@pytest.mark.story
def test_keys_are_made_listed_and_revoked_with_and_without_a_server(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    admin = made(tmp_path, "--owner", "ops", "--scopes", "admin", *data)
    with Server(JOBS, tmp_path / "data", "--workers", "1") as server:
        ask = {"OFFLOAD_URL": server.url, "OFFLOAD_API_KEY": admin}
        limits = ("--expires", "30d", "--rate", "1000/s", "--tasks", "100", "--bytes", "1GiB")
        token = made(tmp_path, "--owner", "anna", "--scopes", "read,submit", *limits, **ask)
        listed = json.loads(keys(tmp_path, "list", "--json", **ask).stdout)
        assert [key["owner"] for key in listed] == ["ops", "anna"]
        assert listed[1]["scopes"] == ["submit", "read"] and listed[1]["rate"] == "1000/s"
        assert (listed[1]["tasks_max"], listed[1]["bytes_max"]) == (100, 1024**3)
        assert "anna" in keys(tmp_path, "list", **ask).stdout
        call = [sys.executable, "-m", "offload", "call", "add", "a=2", "b=3", "--url", server.url, "--key", token]
        done = subprocess.run(call, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout.strip()) == (0, "5"), done.stderr
        with (
            Client(server.url, api_key=token) as client,
            Client(server.url) as stranger,
            Client(server.url, api_key=admin) as ops,
        ):
            task = client.submit("add", a=1)
            assert task.result() == 2
            with pytest.raises(KeyRequired):
                stranger.get(task.id)
            with pytest.raises(ScopeMissing):
                client.keys()
            limited = ops.create_key("carl", ["submit", "read"], rate="2/d")
            assert limited.key not in repr(limited)
            with Client(server.url, api_key=limited.key, retries=0) as carl:
                for _ in range(2):
                    with pytest.raises(TaskDoesNotExist):
                        carl.get(task.id)
                with pytest.raises(QuotaExceeded) as over:
                    carl.get(task.id)
                assert over.value.retry_seconds is not None and over.value.retry_seconds > 3600
            revoked = keys(tmp_path, "revoke", listed[1]["id"], **ask)
            assert revoked.stdout == f"{listed[1]['id']} of anna revoked\n"
            with pytest.raises(KeyRequired, match="was revoked"):
                client.get(task.id)
    states = keys(tmp_path, "list", *data).stdout
    assert "revoked" in states and "carl" in states
    assert keys(tmp_path, "revoke", "nosuch", *data).returncode != 0


@pytest.mark.long
@pytest.mark.story
@pytest.mark.only_on("sqlite", why="one process owns a file; the keys in a database are changed there")
def test_the_keys_in_a_file_that_a_server_uses_are_left_to_that_server(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1"):
        in_use = keys(tmp_path, "list", "--data", str(tmp_path / "data"))
    assert "a server uses" in in_use.stderr and "http://127.0.0.1:8000" in in_use.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--owner", "a b", "--scopes", "read"), "owner"),
        (("--owner", "anna", "--scopes", "root"), "scopes: must be some of submit, read, work, admin"),
        (("--owner", "anna", "--scopes", "read", "--rate", "10"), "rate"),
        (("--owner", "anna", "--scopes", "read", "--expires", "soon"), "expires: 'soon' is not a duration"),
        (("--owner", "anna", "--scopes", "read", "--tasks", "0"), "tasks: '0' is less than 1"),
        (("--owner", "anna", "--scopes", "read", "--bytes", "lots"), "bytes: 'lots' is not a size"),
    ],
)
def test_a_wrong_wish_is_refused_and_makes_nothing(tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    done = keys(tmp_path, "create", *words)
    assert done.returncode == 2 and reason in done.stderr and done.stdout == ""
    assert not (tmp_path / ".offload").exists()


@pytest.mark.long
@pytest.mark.story
def test_no_key_is_ever_found_in_the_data_the_log_or_any_answer(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    admin = made(tmp_path, "--owner", "ops", "--scopes", "admin", *data)
    said: list[str] = []
    env = {"OFFLOAD_LOG_LEVEL": "debug", "OFFLOAD_API_KEY": admin}
    with Server(JOBS, tmp_path / "data", "--workers", "1", env=env) as server:
        with Client(server.url, api_key=admin) as ops:
            token = ops.create_key("anna", ["submit", "read"], rate="100000/s").key
            with Client(server.url, api_key=token) as client:
                client.call("add", a=2)
                with pytest.raises(TaskFailed) as failed:
                    client.call("fail", why="no")
                said.append(str(failed.value.fields))
            said += [repr(ops.keys()), repr(client)]
        bearer = {"authorization": f"Bearer {token}"}
        wrong = {"authorization": f"Bearer {token[:-1]}"}
        for headers in (
            bearer,
            wrong,
            {"authorization": token},
            {"x-api-key": token},
            {"authorization": f"Bearer {admin}"},
        ):
            for path in ("/v1/tasks", "/v1/keys", "/metrics", "/v1/queues", "/openapi.json", "/readyz", "/v1/tasks/x"):
                answer = httpx2.get(server.url + path, headers=headers)
                said += [answer.text, str(answer.headers)]
            answer = httpx2.post(f"{server.url}/v1/jobs/add", headers=headers, json={"a": "wrong"})
            said += [answer.text, str(answer.headers)]
        httpx2.get(f"{server.url}/v1/tasks?key={token}")  # a mistake: not in the log either
    places = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    places += [text.encode() for text in said]
    assert len(places) > 60
    for secret in (token, admin):
        assert not [place[:200] for place in places if secret.encode() in place or secret[17:].encode() in place]
