"""The pages of the documentation as blocks: what each is, the commands in it, and the output that it shows."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(
    r'^(?:<!-- not run: ([^\n]+) -->\n)?```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE
)
GENERATED = re.compile(r"<!-- generated: .*?<!-- end -->", re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block; with a title it is a file that the reader writes."""

    page: Path
    language: str
    title: str
    text: str
    line: int
    not_run: str = ""
    """Why it is neither run nor checked; said in a comment above it."""
    is_generated: bool = False
    """Written by docs/generate.py, and compared with what that writes now."""

    @property
    def place(self) -> str:
        at = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name
        return f"{at}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = page.read_text()
    generated = [found.span() for found in GENERATED.finditer(text)]
    return [
        Block(
            page=page,
            not_run=found[1] or "",
            language=found[2],
            title=found[3] or "",
            text=found[4],
            line=text.count("\n", 0, found.start(4)),
            is_generated=any(start < found.start() < end for start, end in generated),
        )  # fmt: skip
        for found in FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output that the page shows."""
    for found in COMMAND.finditer(block.text):
        yield found[1], found[2].rstrip("\n")


def matches(shown: str, printed: str) -> bool:
    """Tell whether the output is what the page shows, where `…` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
