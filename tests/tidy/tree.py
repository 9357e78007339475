"""The project's files as the tidy tests see them: found by git, parsed once."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Module:
    """One Python file."""

    path: str
    """Relative to the project, with slashes."""
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The dotted name under which it is imported."""
        parts = self.path.removesuffix(".py").removeprefix("src/").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def package(self) -> str:
        return self.name if self.path.endswith("/__init__.py") else self.name.rpartition(".")[0]

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


def module(path: str, text: str) -> Module:
    """Parse `text` as the file `path`."""
    return Module(path=path, text=text, tree=ast.parse(text, filename=path))


@cache
def paths() -> tuple[str, ...]:
    """Return the files that belong to the project, those not yet committed included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        found = listed.stdout.decode().split("\0")
    else:  # an unpacked archive
        found = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if ".venv" not in path.parts]
    return tuple(sorted(path for path in set(found) if path and (ROOT / path).is_file()))


@cache
def modules() -> tuple[Module, ...]:
    """Return every Python file of the project."""
    return tuple(module(path, (ROOT / path).read_text()) for path in paths() if path.endswith(".py"))


def source() -> tuple[Module, ...]:
    """Return the modules that are shipped."""
    return tuple(each for each in modules() if each.path.startswith("src/"))


def texts() -> Iterator[tuple[str, str]]:
    """Return path and content of every file that is text."""
    for path in paths():
        content = (ROOT / path).read_bytes()
        if b"\0" not in content[:8000]:
            yield path, content.decode(errors="replace")


def imports(of: Module, known: frozenset[str]) -> Iterator[tuple[ast.AST, str]]:
    """Return each imported module; `from a import b` is `a.b` where that is one of the `known` modules."""
    for node in ast.walk(of.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            start = of.package.split(".")[: len(of.package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield node, inner if inner in known else origin
