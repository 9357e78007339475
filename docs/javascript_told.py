"""The reference of the JavaScript client, read from the declarations of its types."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "clients" / "js"
BLOCK = re.compile(
    r"^(?:/\*\*(?P<said>(?:(?!\*/).)*?)\*/\n)?export (?:interface|class) (?P<name>\w+)(?P<above> extends [^{]+?)? \{\n"
    r"(?P<body>.*?)^\}$",
    re.DOTALL | re.MULTILINE,
)
FUNCTION = re.compile(r"/\*\*(?P<said>(?:(?!\*/).)*?)\*/\nexport function (?P<signature>[^;]+);", re.DOTALL)
MEMBER = re.compile(r"^  (?:/\*\*(?P<said>.*?)\*/\n  )?(?:readonly )?(?P<signature>\w.*);$", re.MULTILINE)
SHOWN = ("OffloadInit", "Waiting", "Offload", "OffloadOptions", "SubmitOptions", "Filter", "StoredFile", "OffloadError")
"""In the order in which a reader meets them; the shapes of tasks and problems are those of the HTTP reference."""

Table = Callable[[list[str], list[list[str]]], str]


def reference(table: Table) -> str:
    """Return the functions and classes of the client as tables."""
    text = "".join((CLIENT / name).read_text() for name in ("client.d.ts", "client/offload.d.ts"))
    parts = [f"### {found['signature'].partition('(')[0]}\n\n`{found['signature']}`\n\n{_words(found['said'])}\n"
             for found in FUNCTION.finditer(text)]  # fmt: skip
    blocks = {found["name"]: found for found in BLOCK.finditer(text)}
    for name in SHOWN:
        found = blocks[name]
        above = f" `{_words(found['above'])}`" if found["above"] else ""
        said = "\n\n".join(filter(None, [_words(found["said"] or ""), above.strip()]))
        parts.append(f"### {name}\n\n{said}\n\n{table(['member', 'what it says'], list(_members(found['body'])))}")
    return "\n".join(parts)


def _members(body: str) -> Iterator[list[str]]:
    for found in MEMBER.finditer(body):
        yield [f"`{found['signature']}`", _words(found["said"] or "")]


def _words(text: str) -> str:
    return " ".join(re.sub(r"^\s*\*", "", text, flags=re.MULTILINE).split())
