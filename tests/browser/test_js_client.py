"""The JavaScript client in a real browser, on a page of the server's own origin and under its content policy."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.browser.chromium import chromium
from tests.servers import Server

CLIENTS = Path(__file__).parents[1] / "clients"
JOBS = CLIENTS / "jobs_for_clients.py"
IMPORT = 'const { offloadFetch, Offload } = await import("/client/offload.js");'


@contextmanager
def page_of(tmp_path: Path) -> Iterator[Any]:
    """Open the server's reference page; nothing may have gone wrong on it in the end."""
    with chromium() as browser, Server(JOBS, tmp_path / "data") as server:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
        page.goto(f"{server.url}/docs")
        yield page
        assert not wrong


def run(page: Any, script: str, argument: object = None) -> Any:
    return page.evaluate(f"async (given) => {{ {IMPORT} {script} }}", argument)


def test_a_call_resolves_to_the_result_on_a_page_of_the_server(tmp_path: Path) -> None:
    with page_of(tmp_path) as page:
        script = """async () => {
            const { offloadFetch } = await import("/client.js");
            const init = { method: "POST", body: '{"a": 1, "b": 2}', headers: { "Content-Type": "application/json" } };
            const response = await offloadFetch("/v1/jobs/add", init);
            return [response.status, await response.json(), response.headers.get("Content-Type")];
        }"""
        assert page.evaluate(script) == [200, 3, "application/json"]


def test_a_chosen_file_goes_up_with_progress_and_its_result_comes_back(tmp_path: Path) -> None:
    data = os.urandom(6_000_000)
    (tmp_path / "some data.bin").write_bytes(data)
    with page_of(tmp_path) as page:
        page.evaluate("() => document.body.append(Object.assign(document.createElement('input'), { type: 'file' }))")
        page.set_input_files("input[type=file]", tmp_path / "some data.bin")
        script = """
            const [document] = globalThis.document.querySelector("input[type=file]").files;
            const sent = [], told = [];
            const response = await new Offload().call("digest", { document, salt: "s" }, {
                onUpload: (bytes, total) => sent.push([bytes, total]), onProgress: (state) => told.push(state),
            });
            return { sent, told, result: await response.json() };
        """
        found = run(page, script)
    sha256 = hashlib.sha256(b"s" + data).hexdigest()
    kind = "application/octet-stream"
    assert found["result"] == {"name": "some data.bin", "type": kind, "size": len(data), "sha256": sha256}
    sent_bytes, total_bytes = found["sent"][-1]
    assert sent_bytes == total_bytes > len(data)
    fractions = [state["progress"]["fraction"] for state in found["told"] if state["progress"]]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert found["told"][-1]["status"] == "DONE"


def test_raw_files_and_forms_go_up_and_a_file_result_comes_down(tmp_path: Path) -> None:
    with page_of(tmp_path) as page:
        script = """
            const blob = new File(["quiet"], "q.txt", { type: "text/plain" });
            const form = new FormData();
            form.append("document", blob);
            const answers = [
                await offloadFetch("/v1/jobs/shout", { method: "POST", body: blob }),
                await offloadFetch("/v1/jobs/shout", { method: "POST", body: form }),
                await offloadFetch(new Request("/v1/jobs/shout", { method: "POST", body: form })),
                await offloadFetch("/v1/jobs/shout", { method: "POST", body: blob, onUpload() {} }),
                await new Offload().result((await new Offload().submit("shout", blob)).id),
            ];
            return Promise.all(answers.map(async (answer) => [answer.status, await answer.text()]));
        """
        assert run(page, script) == [[200, "QUIET"]] * 5


def test_aborting_cancels_the_task_and_stops_an_upload(tmp_path: Path) -> None:
    with page_of(tmp_path) as page:
        script = """
            const control = new AbortController(), { signal } = control, client = new Offload();
            let task;
            const answer = client.call("nap", { seconds: 600 }, { signal, onTask(found) { task = found; } });
            const stopped = answer.catch((error) => error.name);
            const runs = async () => task && (await client.get(task.id)).status === "RUNNING";
            while (!(await runs())) await new Promise((go) => setTimeout(go, 20));
            control.abort();
            return [await stopped, (await client.wait(task.id, { signal: AbortSignal.timeout(30_000) })).status];
        """
        assert run(page, script) == ["AbortError", "CANCELED"]
        script = """
            const control = new AbortController(), { signal } = control;
            const client = new Offload(), tags = { of: "upload" };
            const document = new Blob([new Uint8Array(200_000_000)]);
            const answer = client.call("digest", { document }, { tags, signal, onUpload: () => control.abort() });
            return [await answer.catch((error) => error.name), (await client.list({ tags }).next()).done];
        """
        assert run(page, script) == ["AbortError", True]


def test_an_abort_as_the_page_is_left_reaches_the_server(tmp_path: Path) -> None:
    with page_of(tmp_path) as page:
        script = """
            const control = new AbortController(), { signal } = control;
            addEventListener("pagehide", () => control.abort());
            return new Promise((found) => {
                const onTask = ({ url }) => found(url);
                new Offload().call("nap", { seconds: 600 }, { signal, onTask }).catch(() => {});
            });
        """
        url = run(page, script)
        page.goto("about:blank")
        assert httpx2.get(f"{url}?wait=30", timeout=60).json()["status"] == "CANCELED"


def test_a_cancel_that_has_to_wait_for_a_connection_outlives_its_page(tmp_path: Path) -> None:
    with page_of(tmp_path) as page:
        script = """
            const control = new AbortController(), { signal } = control;
            const task = await new Promise((found) => {
                new Offload().call("nap", { seconds: 600 }, { signal, onTask: found }).catch(() => {});
            });
            // a browser has six connections to a server: with these, the cancel cannot be sent before the page is left
            for (const wait of [60, 59, 58, 57, 56, 55]) fetch(`${task.url}?wait=${wait}`).catch(() => {});
            addEventListener("pagehide", () => control.abort());
            return task.url;
        """
        url = run(page, script)
        page.goto("about:blank")
        assert httpx2.get(f"{url}?wait=30", timeout=60).json()["status"] == "CANCELED"


def test_more_calls_than_a_browser_has_connections_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    with page_of(tmp_path) as page:
        script = """
            const client = new Offload(), values = async (answers) => {
                return Promise.all(answers.map(async (answer) => (await answer).json()));
            };
            const many = (call) => Array.from({ length: 12 }, (_, number) => call(number));
            globalThis.held = values(many(() => client.call("wait_for", { gate: given }, { onProgress() {} })));
            const signal = AbortSignal.timeout(30_000);
            return values(many((number) => client.call("add", { a: number, b: number }, { signal })));
        """
        assert run(page, script, str(tmp_path / "gate")) == [2 * number for number in range(12)]
        (tmp_path / "gate").touch()
        assert page.evaluate("() => held") == ["open"] * 12


@pytest.mark.parametrize(("prefix", "home"), [("", "/v1/tasks"), ("/offload", "/offload")])
def test_a_page_of_a_wrapped_application_has_the_client_too(tmp_path: Path, prefix: str, home: str) -> None:
    flags = ("--workers", "1", *(("--prefix", prefix) if prefix else ()))
    app = f"{CLIENTS / 'app_to_wrap.py'}:app"
    with chromium() as browser, Server(app, tmp_path / "data", *flags, command="wrap") as server:
        page = browser.new_page()
        page.goto(f"{server.url}/page")
        script = """async (home) => {
            const { offloadFetch } = await import(home + "/client.js");
            const tasks = [], told = [];
            const onTask = ({ url }) => tasks.push(new URL(url).pathname);
            const onProgress = ({ status }) => told.push(status);
            const response = await offloadFetch("/418?a=1", { method: "POST", body: "tea", onTask, onProgress });
            return [response.status, response.headers.get("X-Mine"), await response.text(), tasks[0], told[0]];
        }"""
        status, mine, text, task, first = page.evaluate(script, home)
        assert (status, mine, text) == (418, "POST a=1", "text/plain tea")
        assert task.startswith(f"{prefix}/v1/tasks/") and first == "QUEUED"
        assert httpx2.get(f"{server.url}/client.js").text.endswith("<p>mine"), "that address is the application's"


def test_a_page_of_another_origin_may_not_submit(tmp_path: Path) -> None:
    with page_of(tmp_path) as page, Server(JOBS, tmp_path / "other") as other:
        target = page.url.removesuffix("/docs")
        page.goto(f"{other.url}/healthz")  # which has no content policy that would forbid it first
        script = """
            const init = { method: "POST", body: "{}", headers: { "Content-Type": "application/json" }, retries: 0 };
            return offloadFetch(given + "/v1/jobs/add", init).catch((error) => error.name);
        """
        assert run(page, script, target) == "TypeError"
        assert httpx2.get(f"{target}/v1/tasks").json()["tasks"] == []
