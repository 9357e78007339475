"""A real Chromium on a page of a real server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import tools
from tests.servers import Server

SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """Start one, without a window; leaving ends it. Where there is none the test is skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    program = tools.chromium()
    root = [] if os.geteuid() else ["--no-sandbox"]  # which does not work for root
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, headless=True, args=[*FLAGS, *root, *flags])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def dashboard(server: Server, place: str = "", *, quiet: tuple[str, ...] = (), **options: Any) -> Iterator[Any]:
    """Open the dashboard in a fresh browser. In the end nothing may have gone wrong on it, nor been asked elsewhere.

    `quiet` are words of console errors that the test expects: a browser reports every refused request.
    """
    with chromium() as browser:
        page = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options}).new_page()
        page.set_default_timeout(60_000)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: wrong.append(f"dialog {dialog.message}"))
        page.on("request", lambda sent: wrong.append(sent.url) if not _ours(sent.url, server.url) else None)
        page.goto(f"{server.url}/{place}")
        yield page
        left = [said for said in wrong if not any(word in said for word in quiet)]
        assert not left, left


def _ours(url: str, own: str) -> bool:
    return url.startswith((own + "/", "blob:", "data:", "chrome-extension://"))


def keep_screenshot(page: Any, name: str) -> None:
    """Keep what the page looks like for people to look at, in build/screenshots."""
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
