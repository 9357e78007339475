"""The pages that `make docs` builds: whole, without a request to anywhere, and searchable when opened as files."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.browser.chromium import chromium
from tests.docs.pages import PAGES, ROOT

LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("link", "href")}


class Loads(HTMLParser):
    """Collects what a page makes the browser load by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if (tag, name) in LOADED]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_in_the_site_and_in_its_navigation(site: Path) -> None:
    start = (site / "index.html").read_text()
    for page in PAGES:
        if not page.is_relative_to(ROOT / "docs"):
            continue
        place = page.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / place).exists()
        assert f'href="{place}"' in start, f"{place} is not in the navigation"


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text())
        assert loads.found
        elsewhere = [url for url in loads.found if "//" in url]
        assert not elsewhere, f"{page.name} loads {elsewhere}"
        missing = [url for url in loads.found if page.name != "404.html" and not (page.parent / url).exists()]
        assert not missing, f"{page.name} loads {missing}, which is not there"


def test_pages_opened_as_files_are_searched_in_a_browser_without_a_network(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(60_000)
        asked: list[str] = []
        page.on("request", lambda sent: asked.append(sent.url))
        page.goto((site / "tutorial.html").as_uri())
        page.fill("input[name=query]", "idempotency")
        page.locator("input[name=query]").press("Space")
        found = page.locator(".md-search-result__item").first
        found.wait_for()
        assert "Idempotency" in found.inner_text()
        assert asked and all(url.startswith((site.as_uri(), "about:", "data:")) for url in asked), asked
