"""A page of another origin in the same browser can neither change nor read anything of a server without keys."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.browser.attacks import CHANGE, READ, changes
from tests.browser.canary import listening
from tests.browser.chromium import chromium
from tests.browser.pictures import PNG
from tests.servers import Server

CLIENTS = Path(__file__).parents[1] / "clients"
JOBS = CLIENTS / "jobs_for_clients.py"
PAGE = b"<!doctype html><title>foreign</title><body><p>hello"
BOXED = (
    b"<!doctype html><title>foreign</title><body><iframe sandbox='allow-scripts allow-forms' src='/attack'></iframe>"
)


class Held:
    """Tasks in every state in which something can be done to them."""

    def __init__(self, client: httpx2.Client) -> None:
        self.client = client
        sums: dict[str, object] = {"job": "add", "input": {"a": 1, "b": 2}}
        self.later = self._made({**sums, "run": True, "delay": 3600})
        self.created = self._made(sums)
        self.failed = self._made({"job": "refuse", "input": {"why": "no"}, "run": True})
        self.done = self._made({**sums, "run": True})
        kind = {"content-type": "image/png"}
        answer = self.client.post("/v1/jobs/shout", content=PNG, headers=kind)
        self.filed = answer.headers["location"].rpartition("/")[2]
        for task in (self.failed, self.done, self.filed):
            self.client.get(f"/v1/tasks/{task}?wait=60")

    @property
    def changes(self) -> list[dict[str, Any]]:
        return changes(self.later, self.created, self.failed, self.done)

    @property
    def paths(self) -> list[str]:
        places = ("", "/status", "/result", "/events", "/logs", "/input/document")
        tasks = [f"/v1/tasks/{task}{place}" for task, place in itertools.product((self.done, self.filed), places)]
        return [*tasks, "/v1/tasks", "/v1/queues", "/v1/jobs", "/v1/overview/events", "/openapi.json", "/metrics", "/"]

    @property
    def state(self) -> dict[str, object]:
        """Return everything that the changes would change."""
        tasks = self.client.get("/v1/tasks?limit=100").json()["tasks"]
        queues = self.client.get("/v1/queues").json()["queues"]
        return {
            "tasks": [(task["id"], task["status"], task["attempt"], task["max_attempts"]) for task in tasks],
            "queues": [(queue["name"], queue["state"]) for queue in queues],
            "schedules": self.client.get("/v1/schedules").text,
            "secret": self.client.get("/v1/callbacks/secret").text,
            "keys": self.client.get("/v1/keys").text,
        }

    def _made(self, body: dict[str, object]) -> str:
        answer = self.client.post("/v1/tasks", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


def talking(server: Server) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, timeout=60)


@contextmanager
def held(tmp_path: Path) -> Iterator[tuple[Server, Held]]:
    """Hold such tasks; in the end they have to be as they were."""
    with Server(JOBS, tmp_path / "data", "--workers", "1") as server, talking(server) as client:
        found = Held(client)
        before = found.state
        yield server, found
        assert found.state == before


def test_a_foreign_page_changes_and_reads_nothing(tmp_path: Path) -> None:
    with held(tmp_path) as (server, found), listening() as canary, chromium() as browser:
        canary.pages.update({"/attack": ("text/html", PAGE), "/boxed": ("text/html", BOXED)})
        page = browser.new_page()
        page.set_default_timeout(60_000)
        same_site, another_site = canary.url, f"http://localhost:{canary.port}"
        for origin, place in ((same_site, "/attack"), (another_site, "/attack"), ("null", "/boxed")):
            page.goto((canary.url if origin == "null" else origin) + place)
            frame = page.frames[-1]
            assert frame.evaluate("() => origin") == origin
            assert len(frame.evaluate(CHANGE, [server.url, found.changes])) > 60
            assert frame.evaluate(READ, [server.url, found.paths]) == []


def test_the_same_requests_do_change_something_from_a_page_of_the_server(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, talking(server) as client, chromium() as browser:
        found = Held(client)
        before = found.state
        page = browser.new_page()
        page.goto(f"{server.url}/healthz")
        asked = [change for change in found.changes if change["path"] != "/v1/keys"]  # a first key shuts out the rest
        page.evaluate(CHANGE, [server.url, asked])
        after = found.state
        assert [name for name in before if before[name] == after[name]] == ["keys"]
        ending = [path for path in found.paths if "overview" not in path and "logs" not in path]
        assert {path for path, _ in page.evaluate(READ, [server.url, ending])} == set(ending)


@pytest.mark.parametrize("name", ["evil.test", "127.0.0.1.evil.test"])
def test_a_name_that_was_pointed_here_leads_nowhere(tmp_path: Path, name: str) -> None:
    with held(tmp_path) as (server, found), chromium(f"--host-resolver-rules=MAP {name} 127.0.0.1") as browser:
        page = browser.new_page()
        base = f"http://{name}:{urlsplit(server.url).port}"
        # the answer itself has the origin that a page loaded before the name changed its address would have
        assert page.goto(f"{base}/").status == 421
        script = """async ([base, asked]) => Promise.all(asked.map(async ({ method, path, body }) => {
            const answer = await fetch(base + path, { method, body, headers: { "Content-Type": "application/json" } });
            return [answer.status, (await answer.json()).code];
        }))"""
        reads = [{"method": "GET", "path": path} for path in found.paths]
        answers = page.evaluate(script, [base, [*found.changes, *reads]])
        assert {tuple(answer) for answer in answers} == {(421, "WrongHost")}


def test_the_tasks_of_a_wrapped_application_are_guarded_alike(tmp_path: Path) -> None:
    app = f"{CLIENTS / 'app_to_wrap.py'}:app"
    rules = "--host-resolver-rules=MAP evil.test 127.0.0.1"
    with Server(app, tmp_path / "data", "--workers", "1", command="wrap") as server, chromium(rules) as browser:
        header = {"Prefer": "respond-async", "Offload-Delay": "3600"}
        task = httpx2.get(f"{server.url}/200", headers=header).headers["location"]
        with listening() as canary:
            canary.pages["/attack"] = ("text/html", PAGE)
            page = browser.new_page()
            page.goto(f"{canary.url}/attack")
            asked = [
                {"method": "POST", "path": f"{task}/cancel", "body": "{}", "fields": []},
                {"method": "DELETE", "path": task, "body": None, "fields": []},
            ]
            page.evaluate(CHANGE, [server.url, asked])
            assert page.evaluate(READ, [server.url, ["/v1/tasks", task, f"{task}/events"]]) == []
            assert page.goto(f"http://evil.test:{urlsplit(server.url).port}{task}").status == 421
        assert httpx2.get(server.url + task).json()["status"] == "QUEUED"
