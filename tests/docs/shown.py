"""Blocks that are not run because they name what only their reader has: each is given to what would have to read it."""

import configparser
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from offload.cli.main import parse
from offload.cli.settings_flags import read_settings
from offload.conformance.given import KINDS
from offload.core.catalog import Catalog
from offload.http.config import HttpConfig
from offload.http.openapi import build
from offload.settings import load_settings
from tests.docs.pages import ROOT, Block

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ELSEWHERE = (".", "git", "make", "python3")
"""Programs that blocks may call and that no parser of ours knows."""
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*=")
EXTRAS = re.compile(r"(?:offload|\.)\[([^\]]*)\]")


def shell(block: Block) -> None:
    """Each line is shell; each command of ours one that is taken, each extra one there is, each URL a route."""
    is_shell(block.text)
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and (words[0] == "export" or VARIABLE.match(words[0])):
            variable(words.pop(0))
        if words:
            SHELL[words[0]](words)


def is_shell(text: str) -> None:
    read = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr


def offload(words: list[str]) -> None:
    options = parse(words[1:])
    if hasattr(options, "config"):
        read_settings(options)


def pip(words: list[str]) -> None:
    assert words[1] == "install", words
    for extras in EXTRAS.findall(" ".join(words[2:])):
        unknown = set(extras.split(",")) - set(PROJECT["optional-dependencies"])
        assert not unknown, f"pyproject.toml has no extra {unknown}"


def curl(words: list[str]) -> None:
    urls = [word for word in words[1:] if "localhost:8000" in word]
    assert urls or any(word.startswith("https://") for word in words), f"{words} asks nobody"
    for url in urls:
        path = url.partition("localhost:8000")[2].partition("?")[0]
        assert any(route.fullmatch(path) for route in routes()), f"there is no {path}"


def pytest(words: list[str]) -> None:
    known = {f"--offload-{kind}" for kind in (*KINDS, "without", "stories")}
    assert not (unknown := {word for word in words if word.startswith("--offload-")} - known), unknown


def variable(word: str) -> None:
    name, _, value = word.partition("=")
    if name.startswith("OFFLOAD_"):
        load_settings(flags={}, environ={name: value}, cwd=Path("/nowhere"))


@cache
def routes() -> list[re.Pattern[str]]:
    """Return what matches the paths of the interface; what a placeholder stands for is one step."""
    paths = build(Catalog.of_jobs(), HttpConfig())["paths"]
    return [re.compile(re.sub(r"\\{[a-z]+\\}", "[^/]+", re.escape(path))) for path in paths]


SHELL: Mapping[str, Callable[[list[str]], None]] = {
    "offload": offload,
    "pip": pip,
    "curl": curl,
    "pytest": pytest,
    **{name: lambda words: None for name in ELSEWHERE},
}


def settings(block: Block) -> None:
    """It is an offload.toml that is taken."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "offload.toml").write_text(block.text)
        load_settings(flags={}, environ={}, cwd=Path(folder))


def unit(block: Block) -> None:
    """It is a unit of systemd whose command is one of ours."""
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.read_string(block.text)
    program, *words = shlex.split(read["Service"]["ExecStart"])
    assert program.endswith("/offload")
    parse(words)


def scrape(block: Block) -> None:
    assert yaml.safe_load(block.text)["scrape_configs"]


CHECKS: Mapping[str, Callable[[Block], None]] = {
    "sh": shell,
    "json": lambda block: json.loads(block.text),
    "toml": settings,
    "ini": unit,
    "yaml": scrape,
}
RUN = ("console", "python", "js", "nginx", "sql")
"""What other tests run: in a shell, by Python, Node, nginx and PostgreSQL."""
SPELLING: Mapping[str, Callable[[str], object]] = {
    "text": str,
    "sh": is_shell,
    "py": lambda text: compile(text, "block", "exec"),
    "toml": tomllib.loads,
    "json": json.loads,
    "yaml": yaml.safe_load,
}
"""What reads a block that only its reader could run."""
