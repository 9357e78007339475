"""What the pages say is done: commands are typed, blocks run or read by what they are for, answers compared."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import pytest

from tests.backends.redis import RedisServer
from tests.conformance.postgres import Databases
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, matches
from tests.docs.reader import Reader
from tests.docs.shown import CHECKS, RUN, SPELLING

BLOCKS = [block for page in PAGES for block in blocks(page)]
FOLLOWED = [page for page in PAGES if any(block.language in ("console", "python", "js") for block in blocks(page))]


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and not block.not_run]


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_reader_who_does_what_the_page_says_sees_what_it_shows(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with Reader(tmp_path, stand_ins=stand_ins(page, request)) as reader:
        reader.follow(page)


def stand_ins(page: Path, request: pytest.FixtureRequest) -> Mapping[str, str]:
    """Start what a page speaks to and return where it is."""
    text, found = page.read_text(), {}
    named = [url for url in ("redis://localhost:6379", "redis://redis.internal:6379") if url in text]
    if named:
        server: RedisServer = request.getfixturevalue("redis_server")
        server.say("FLUSHALL")
        found.update(dict.fromkeys(named, f"redis://127.0.0.1:{server.port}"))
    if (url := "postgresql://offload:SECRET@db.internal:5432/offload") in text:
        databases: Databases = request.getfixturevalue("postgres")
        found[url] = databases.server.create(f"of_{page.stem.replace('-', '_')}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_is_run_or_read_by_what_it_is_meant_for_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        if not (block.not_run or block.is_generated or block.language in RUN):
            read(block)


def read(block: Block) -> None:
    assert block.language in CHECKS, (
        f"nothing runs or reads {block.place}, a block of {block.language or 'no language'}"
    )
    CHECKS[block.language](block)


def test_what_is_not_run_is_at_least_spelt_right() -> None:
    for block in BLOCKS:
        if block.not_run:
            assert block.language in SPELLING, f"{block.place}: nothing can say that {block.language} is spelt right"
            SPELLING[block.language](block.text)


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_of_a_page_is_used_on_it(page: Path) -> None:
    own = blocks(page)
    for at, block in enumerate(own):
        if block.title.endswith(".py"):
            following = " ".join(after.text for after in own[at + 1 :])
            assert re.search(rf"\b{Path(block.title).stem}\b", following), f"{block.place}: {block.title} is not used"


@pytest.mark.parametrize("block", of("nginx"), ids=lambda block: block.place)
def test_nginx_takes_its_lines(block: Block, tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    if nginx is None:
        pytest.skip("needs nginx; as root tests/install_tools.sh installs it")
    logs = f"error_log {tmp_path}/log; pid {tmp_path}/pid; events {{}}"
    (tmp_path / "conf").write_text(f"{logs} http {{ access_log off; server {{ listen 127.0.0.1:1;\n{block.text}}} }}")
    read = subprocess.run([nginx, "-t", "-c", tmp_path / "conf", "-p", tmp_path], capture_output=True, text=True)
    assert "syntax is ok" in read.stderr, read.stderr


async def test_postgresql_takes_its_lines(postgres: Databases) -> None:
    connection = await asyncpg.connect(postgres.server.url())
    try:
        for block in of("sql"):
            for statement in filter(None, map(str.strip, block.text.replace("offload", "reader").split(";"))):
                await connection.execute(statement)
    finally:
        await connection.execute("DROP SCHEMA IF EXISTS reader")
        await connection.execute("DROP DATABASE IF EXISTS reader")
        await connection.execute("DROP ROLE IF EXISTS reader")
        await connection.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}, which does not exist"


def test_the_reader_notices_another_answer(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo one\ntwo\n```\n")
    with Reader(tmp_path) as reader, pytest.raises(AssertionError, match="shown:\ntwo\nprinted:\none"):
        reader.follow(page)
    ((command, shown),) = commands(blocks(page)[0])
    assert (command, shown) == ("echo one", "two")
    assert matches('{"id":"…","status":"DONE"}', '{"id":"8c0f","status":"DONE"}')


@pytest.mark.parametrize("language, text", [
    ("python", "assert 1 == 2"),
    ("js", 'import { offloadFetch } from "/client.js";\nif (offloadFetch.name) throw new Error("broken");'),
    ("js", "const one = ;"),
])  # fmt: skip
def test_the_reader_notices_a_block_that_is_broken(language: str, text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```{language}\n{text}\n```\n")
    with Reader(tmp_path) as reader, pytest.raises(AssertionError, match="exit=1"):
        reader.follow(page)


@pytest.mark.parametrize("language, text", [
    ("", "who knows what this is"),
    ("text", "an example that nothing reads"),
    ("ruby", "puts 1"),
    ("sh", "for n in 1 2"),
    ("sh", "offload serve jobs.py --blobbs s3://bucket"),
    ("sh", "offload serve jobs.py --port many"),
    ("sh", "OFFLOAD_STROE=x offload serve jobs.py"),
    ("sh", 'pip install "offload[rabbits]"'),
    ("sh", "curl localhost:8000/v1/job/resize"),
    ("sh", "unknown-program"),
    ("json", '{"job": "resize",}'),
    ("toml", "queue_task_max = 1"),
    ("ini", "[Service]\nExecStart=/usr/bin/offload serv jobs.py"),
    ("yaml", "scrape_configs: ["),
])  # fmt: skip
def test_a_block_that_is_wrong_is_noticed(language: str, text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```{language}\n{text}\n```\n")
    (block,) = blocks(page)
    with pytest.raises(Exception):  # noqa: B017 - each parser has its own
        read(block)


def test_there_is_something_to_follow() -> None:
    assert {"README.md", "tutorial.md", "index.md", "curl.md"} <= {page.name for page in FOLLOWED}
