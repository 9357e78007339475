"""What the pages say is done: every command is typed, every Python block run, every answer compared."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Reader, blocks, commands, matches

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLLOWED = [page for page in PAGES if any(block.language in ("console", "python") for block in blocks(page))]


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_reader_who_does_what_the_page_says_sees_what_it_shows(page: Path, tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        reader.follow(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}, which does not exist"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_that_is_only_shown_is_python(page: Path) -> None:
    for block in blocks(page):
        if block.language in ("py", "python"):
            compile(block.text, f"{page.name}:{block.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_reader_notices_another_answer(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo one\ntwo\n```\n")
    ((command, shown),) = commands(blocks(page)[0])
    assert (command, shown) == ("echo one", "two")
    assert not matches(shown, "one")
    assert matches('{"id":"…","status":"DONE"}', '{"id":"8c0f","status":"DONE"}')


def test_there_is_something_to_follow() -> None:
    assert {"README.md", "tutorial.md", "index.md", "curl.md"} <= {page.name for page in FOLLOWED}
