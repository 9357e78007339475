"""What clients upload, opened in a real browser from the server's own address: no script of it ever runs."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from tests.browser.pages import browser, needs_chromium
from tests.servers import Server

JOBS = Path(__file__).with_name("jobs_for_browsers.py")
pytestmark = [needs_chromium, pytest.mark.deadline(180)]


class Canary(http.server.ThreadingHTTPServer):
    """Hears of every script that ran, and serves pages of a hostile site."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Heard)
        self.heard: list[str] = []
        self.page = b""
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Heard(http.server.BaseHTTPRequestHandler):
    server: Canary

    def do_GET(self) -> None:
        if self.path == "/page":
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(self.server.page)
            return
        self.server.heard.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the terminal of a test."""


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    with Canary() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(JOBS, tmp_path_factory.mktemp("safety") / "data", "--workers", "1") as started:
        yield started


def hostile(script: str) -> list[tuple[str, str, str]]:
    """Return files that run a script wherever a browser takes them for what they say: name, type, content."""
    page = f"<!doctype html><html><body><h1>hi</h1><script>{script}</script></body></html>"
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{script}"><script>{script}</script></svg>'
    xhtml = f'<html xmlns="http://www.w3.org/1999/xhtml"><body><script>{script}</script></body></html>'
    return [
        ("page.html", "text/html", page),
        ("drawing.svg", "image/svg+xml", drawing),
        ("page.xhtml", "application/xhtml+xml", xhtml),
        ("data.xml", "text/xml", xhtml),
        ("data.rdf", "application/rdf+xml", xhtml),
        ("page.mht", "multipart/related", page),
        ("text.txt", "text/plain", page),
        ("picture.png", "image/png", page),
        ("unknown", "application/octet-stream", page),
        ("nothing", "", page),
        ("page.html;x.png", "text/html; charset=utf-7", page),
        ("sound.mp3", "audio/mpeg", page),
        ("data.json", "application/json", page),
        ("code.js", "text/javascript", script),
    ]


def addresses(server: Server, name: str, kind: str, text: str) -> list[str]:
    """Return where an uploaded file can be opened: as an input, and as a result."""
    with httpx2.Client(base_url=server.url, timeout=60) as http:
        files = {"file": (name, text.encode(), kind)} if kind else {"file": (name, text.encode())}
        task = http.post("/v1/jobs/same", files=files).json()
        assert http.get(f"{task['links']['result']}?wait=30").status_code == 200
        return [f"{server.url}{task['links']['result']}", f"{server.url}{task['links']['self']}/input/file"]


def opened(page: Any, url: str) -> None:
    try:
        page.goto(url, wait_until="load")
    except Exception as error:
        if "Download is starting" not in str(error) and "ERR_ABORTED" not in str(error):
            raise


def test_no_uploaded_file_runs_a_script_when_it_is_opened(server: Server, canary: Canary, chromium: Any) -> None:
    page = chromium.new_page()
    for name, kind, text in hostile(f"new Image().src='{canary.url}/opened?{quote('x')}='+document.domain"):
        for url in addresses(server, name, kind, text):
            opened(page, url)
            page.wait_for_timeout(30)
            assert canary.heard == [], (name, url)


def test_no_uploaded_file_runs_a_script_inside_a_page_of_another_site(
    server: Server, canary: Canary, chromium: Any
) -> None:
    page = chromium.new_page()
    for name, kind, text in hostile(f"new Image().src='{canary.url}/framed'"):
        for url in addresses(server, name, kind, text):
            tags = f'<iframe src="{url}"></iframe><object data="{url}"></object><embed src="{url}"><img src="{url}">'
            canary.page = f'<!doctype html>{tags}<script src="{url}"></script>'.encode()
            opened(page, f"{canary.url}/page")
            page.wait_for_timeout(50)
            assert [heard for heard in canary.heard if heard != "/favicon.ico"] == [], (name, url)


def test_the_canary_hears_of_a_script_that_runs(canary: Canary, chromium: Any) -> None:
    canary.page = f"<script>new Image().src='{canary.url}/ran'</script>".encode()
    page = chromium.new_page()
    with page.expect_response("**/ran"):
        opened(page, f"{canary.url}/page")
    assert "/ran" in canary.heard
