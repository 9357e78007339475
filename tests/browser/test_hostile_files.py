"""What a client uploads, and what a job makes of it, runs no script when a browser opens it from the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.browser.canary import Canary, listening
from tests.browser.chromium import chromium
from tests.browser.hostile_files import cases, hostile
from tests.browser.pictures import PNG
from tests.servers import Server

JOBS = Path(__file__).with_name("jobs_that_keep.py")
AT_ONCE = 40
USED = ("html", "svg", "js", "css", "pdf", "gif-and-js")
BOUNDARY = "between-the-parts"

FRAMES = """(urls) => Promise.all(urls.map((url) => new Promise((over) => {
    const frame = Object.assign(document.createElement("iframe"), { src: url, onload: over, onerror: over });
    document.body.append(frame);
    setTimeout(over, 300); // a download tells nothing
})))"""
USES = """async ([url, name]) => {
    const over = (tag, attributes) => new Promise((over) => {
        const element = Object.assign(document.createElement(tag), attributes, { onload: over, onerror: over });
        document.body.append(element);
        setTimeout(over, 300);
    });
    const quiet = (promise) => Promise.resolve(promise).catch(() => {});
    const work = (make) => new Promise((over) => {
        try { make().onerror = over; } catch { over(); }
        setTimeout(over, 300);
    });
    await Promise.all([
        over("script", { src: url }), over("script", { src: url, type: "module" }), quiet(import(url)),
        over("link", { rel: "stylesheet", href: url }), over("link", { rel: "manifest", href: url }),
        over("object", { data: url }), over("embed", { src: url }), over("img", { src: url }),
        over("object", { data: url, type: "text/html" }), over("embed", { src: url, type: "image/svg+xml" }),
        over("video", { src: url }), over("iframe", { src: url, sandbox: "allow-scripts" }),
        work(() => new Worker(url)), work(() => new Worker(url, { type: "module" })), work(() => new SharedWorker(url)),
        quiet(navigator.serviceWorker.register(url)), quiet(CSS.paintWorklet?.addModule(url)),
    ]);
}"""


@dataclass
class Watched:
    """A browser with a page of the server's own origin and no policy, and what happened in it."""

    page: Any
    canary: Canary
    dialogs: list[str] = field(default_factory=list)
    controls: int = 0

    def control(self) -> None:
        """Return once a script that may run has run: one that may not, and was there before, would have by now."""
        self.controls += 1
        path = f"/control/{self.controls}"
        self.page.evaluate("(url) => { new Image().src = url; }", self.canary.url + path)
        self.canary.heard_of(path, self.page.wait_for_timeout)

    @property
    def ran(self) -> list[str]:
        return self.dialogs + [path for path in self.canary.heard if not path.startswith("/control/")]


@contextmanager
def watching(server: Server) -> Iterator[Watched]:
    with listening() as canary, chromium() as browser:
        context = browser.new_context()
        context.set_default_timeout(60_000)
        watched = Watched(page=context.new_page(), canary=canary)

        def hear(dialog: Any) -> None:
            watched.dialogs.append(f"dialog {dialog.message}")
            dialog.dismiss()

        context.on("dialog", hear)
        watched.page.goto(f"{server.url}/healthz")  # which has no policy of its own
        yield watched


def kept(server: Server, canary: str) -> list[tuple[str, str, str]]:
    """Have every file stored as an input and as a result; return what it is, and where it is read."""
    found = []
    with httpx2.Client(base_url=server.url, timeout=60) as client:
        for payload, data, kind, name in cases(canary):
            answer = keep(client, data, kind, name)
            if answer.status_code == 400:  # refused as what it claims to be; its result may still claim it
                answer = keep(client, data, kind, name, sent_as="application/octet-stream")
            assert answer.status_code == 202, answer.text
            here = answer.headers["location"]
            found += [(payload, kind, f"{here}/input/document"), (payload, kind, f"{here}/result")]
        for _, _, place in found:
            answer = client.get(place, headers={"prefer": "wait=60"})
            assert answer.status_code == 200, answer.text
            check_header(answer)
    return found


def keep(client: httpx2.Client, data: bytes, kind: str, name: str, sent_as: str | None = None) -> httpx2.Response:
    """Send a form as no library would write it: a type stands there as it is."""
    fields = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in (("name", name), ("type", kind))
    )
    plain = name.replace('"', "%22")
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="document"; filename="{plain}"\r\n'
    head += f"Content-Type: {sent_as or kind}\r\n\r\n"
    body = (fields + head).encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    header = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return client.post("/v1/jobs/keep", content=body, headers=header)


def check_header(answer: httpx2.Response) -> None:
    header = answer.headers
    assert header["content-security-policy"] == "sandbox; default-src 'none'"
    assert header["x-content-type-options"] == "nosniff"
    assert header["cross-origin-resource-policy"] == "same-origin"
    assert "x" not in header and len(header.get_list("content-type")) == 1
    if not header["content-disposition"].startswith("attachment"):
        assert header["content-type"] in ("text/plain; charset=utf-8", "application/json") or (
            header["content-type"].startswith(("image/", "video/", "audio/")) and "svg" not in header["content-type"]
        )


def test_whatever_is_kept_runs_nothing_in_a_browser(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, watching(server) as watched:
        found = kept(server, watched.canary.url)
        assert len(found) > 500
        for some in [found[start : start + AT_ONCE] for start in range(0, len(found), AT_ONCE)]:
            watched.page.evaluate(FRAMES, [server.url + place for _, _, place in some])
            watched.control()
            assert watched.ran == [], some
            watched.page.reload()
        tab = watched.page.context.new_page()
        for name, (own, _) in hostile(watched.canary.url).items():
            place = next(place for payload, kind, place in found if (payload, kind) == (name, own))
            result = server.url + place.replace("/input/document", "/result")
            if name in USED:
                watched.page.evaluate(USES, [result, name])
                watched.control()
                assert watched.ran == [], (name, "used by a page")
            open_by_itself(tab, result)
            open_by_itself(tab, server.url + place)
            watched.control()
            assert watched.ran == [], (name, "opened by itself")


def open_by_itself(tab: Any, url: str) -> None:
    try:
        tab.goto(url)
        tab.evaluate("() => 0")  # what its scripts would have sent is on its way
    except Exception as error:  # it is playwright's own, which is imported lazily
        assert "Download is starting" in str(error) or "ERR_ABORTED" in str(error), error


def test_the_same_files_do_run_where_nothing_forbids_it(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, watching(server) as watched:
        canary = watched.canary
        watched.page.goto(f"{canary.url}/healthz")
        for name, (own, data) in hostile(watched.canary.url).items():
            place = f"/unguarded/{name}"
            canary.pages[place] = (own, data)
            if name in ("html", "svg", "xml", "xhtml"):
                watched.page.evaluate(FRAMES, [place])
            elif name in ("js", "css"):
                watched.page.evaluate(USES, [place, name])
            else:
                continue
            canary.heard_of(f"/ran/{name}", watched.page.wait_for_timeout)
        assert watched.dialogs


def test_pictures_and_texts_are_still_shown_in_place(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data") as server, watching(server) as watched:
        for name, kind, data in (("a.png", "image/png", PNG), ("a.txt", "text/plain", "ä <b>b</b>".encode())):
            with httpx2.Client(base_url=server.url, timeout=60) as client:
                answer = keep(client, data, kind, name)
            place = server.url + answer.headers["location"] + "/result"
            assert httpx2.get(place, headers={"prefer": "wait=60"}, timeout=90).status_code == 200
            assert watched.page.goto(place).status == 200
            if kind == "image/png":
                assert watched.page.evaluate("() => document.images[0].naturalWidth") == 1
            else:
                assert watched.page.evaluate("() => document.body.innerText") == "ä <b>b</b>"
