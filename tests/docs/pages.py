"""The pages of the documentation as something that can be followed: their blocks, in order, run as a reader would."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^\$ (.*(?:\\\n.*)*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
COMMAND_SECONDS = 120.0
ADDRESS = re.compile(r"(?:localhost|127\.0\.0\.1):8000")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block; with a title it is a file that the reader writes."""

    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page."""
    text = page.read_text()
    return [
        Block(language=found[1], title=found[2] or "", text=found[3], line=text.count("\n", 0, found.start()) + 1)
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


@dataclass
class Reader:
    """Somebody who follows a page in an empty directory: writes its files, types its commands, keeps its server."""

    home: Path
    address: str = "127.0.0.1:8000"
    _server: "subprocess.Popen[str] | None" = None
    _shell: "subprocess.Popen[str]" = field(init=False)

    def __enter__(self) -> Self:
        (self.home / "examples").symlink_to(ROOT / "examples")
        self._shell = subprocess.Popen(
            ["bash"], cwd=self.home, env=self._environ(), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_server()
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        for pipe in (self._shell.stdin, self._shell.stdout):
            assert pipe is not None
            pipe.close()

    def follow(self, page: Path) -> None:
        """Do what a page says, block by block, and compare."""
        for block in blocks(page):
            place = f"{page.relative_to(ROOT)}:{block.line}"
            if block.title and "/" not in block.title:
                (self.home / block.title).write_text(block.text)
            elif block.language == "console":
                for command, shown in commands(block):
                    printed = self.type(command)
                    assert matches(shown, printed), f"{place}: $ {command}\nshown:\n{shown}\nprinted:\n{printed}"
            elif block.language == "python":
                (self.home / "block.py").write_text(ADDRESS.sub(self.address, block.text))
                printed = self.type("python -W error block.py; echo exit=$?")
                assert printed.rstrip().endswith("exit=0"), f"{place}:\n{block.text}\nprinted:\n{printed}"

    def type(self, command: str) -> str:
        """Run one command in the reader's shell and return what it prints."""
        if command.startswith(("offload serve", "offload wrap", "offload proxy")):
            return self._serve(command)
        assert self._shell.stdin is not None and self._shell.stdout is not None
        too_slow = threading.Timer(COMMAND_SECONDS, os.killpg, (self._shell.pid, signal.SIGKILL))
        too_slow.start()
        try:
            self._shell.stdin.write(f"{ADDRESS.sub(self.address, command)}\necho; echo '---8<---'\n")
            self._shell.stdin.flush()
            lines = []
            for line in iter(self._shell.stdout.readline, "---8<---\n"):
                assert line, f"the shell ended, or this took more than {COMMAND_SECONDS:.0f} s: {command}"
                lines.append(line)
        finally:
            too_slow.cancel()
        return "".join(lines)

    def _serve(self, command: str) -> str:
        self._stop_server()
        with (self.home / "server.log").open("a") as log:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec {command} --port 0"], cwd=self.home, env=self._environ(), text=True,
                stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        said, _, self.address = line.strip().rpartition("http://")
        assert said, f"the server said {line!r}\n{(self.home / 'server.log').read_text()}"
        self.type(f"export SERVER={self._server.pid} OFFLOAD_URL=http://{self.address}")
        return ADDRESS.sub("", line).replace(self.address, "127.0.0.1:8000")

    def _stop_server(self) -> None:
        if self._server is None:
            return
        self._server.terminate()
        try:
            self._server.wait(60)
        finally:
            self._server.kill()
            self._server.wait()
            assert self._server.stdout is not None
            self._server.stdout.close()

    @staticmethod
    def _environ() -> dict[str, str]:
        beside = str(Path(sys.executable).parent)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OFFLOAD_", "PYTEST_"))}
        return {
            **own,
            "PATH": f"{beside}:{own.get('PATH', '')}",
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "OFFLOAD_GRACE_SECONDS": "1",
        }
