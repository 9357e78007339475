"""Somebody who follows a page: writes its files, types its commands, runs its Python and JavaScript, compares."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.backends.free_port import free_port
from tests.backends.waiting import wait_until
from tests.docs.pages import ROOT, Block, blocks, commands, matches
from tests.docs.scripts import script_of
from tests.tools import node

COMMAND_SECONDS = 120.0
START_SECONDS = 60.0
ADDRESS = re.compile(r"(?:localhost|127\.0\.0\.1):8000")
OWN_PORT = re.compile(r"""((?:localhost|127\.0\.0\.1):|--port |port=|"127\.0\.0\.1", )(50\d\d)\b""")
"""A port that a page's own programs listen on: each run takes a free one in its place."""
IN_A_TERMINAL_OF_ITS_OWN = ("flask ", "uvicorn ", "celery ", "rq worker", "offload work")


@dataclass
class Reader:
    """Somebody who follows a page in an empty directory: writes its files, types its commands, keeps its servers."""

    home: Path
    address: str = "127.0.0.1:8000"
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    """What is spoken to in place of the hosts that the pages name."""
    _ports: dict[str, int] = field(default_factory=dict)
    _server: "subprocess.Popen[str] | None" = None
    _others: "list[subprocess.Popen[str]]" = field(default_factory=list)
    _on_port: "dict[str, subprocess.Popen[str]]" = field(default_factory=dict)
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
        for process in (self._server, *self._others, self._shell):
            self._stop(process)
        if self._server is not None and self._server.stdout is not None:
            self._server.stdout.close()
        for pipe in (self._shell.stdin, self._shell.stdout):
            assert pipe is not None
            pipe.close()

    def follow(self, page: Path) -> None:
        """Do what a page says, block by block, and compare."""
        for block in blocks(page):
            if block.title and "/" not in block.title:
                (self.home / block.title).write_text(self._here(block.text))
                if block.title.endswith(".mjs"):
                    self._run(block, f"{node()} {block.title}")
            elif block.language == "console":
                for command, shown in commands(block):
                    printed = self.type(command, shown)
                    assert matches(shown, printed), f"{block.place}: $ {command}\nshown:\n{shown}\nprinted:\n{printed}"
            elif block.language == "python":
                (self.home / "block.py").write_text(self._here(block.text))
                self._run(block, "python -W error block.py")
            elif block.language == "js":
                (self.home / "block.mjs").write_text(script_of(block.text, self.address))
                self._run(block, f"TASK=$TASK {node()} --no-warnings --experimental-eventsource block.mjs")

    def type(self, command: str, shown: str = "") -> str:
        """Run one command in the reader's shell and return what it prints."""
        if command.startswith(("offload serve", "offload wrap", "offload proxy")):
            return self._serve(self._here(command))
        if command.startswith(IN_A_TERMINAL_OF_ITS_OWN):
            return self._start(self._here(command), shown)
        assert self._shell.stdin is not None and self._shell.stdout is not None
        too_slow = threading.Timer(COMMAND_SECONDS, os.killpg, (self._shell.pid, signal.SIGKILL))
        too_slow.start()
        try:
            self._shell.stdin.write(f"{self._here(command)}\necho; echo '---8<---'\n")
            self._shell.stdin.flush()
            lines = []
            for line in iter(self._shell.stdout.readline, "---8<---\n"):
                assert line, f"the shell ended, or this took more than {COMMAND_SECONDS:.0f} s: {command}"
                lines.append(line)
        finally:
            too_slow.cancel()
        return self._there("".join(lines))

    def _run(self, block: Block, command: str) -> None:
        printed = self.type(f"{command}; echo exit=$?")
        assert printed.rstrip().endswith("exit=0"), f"{block.place}:\n{block.text}\nprinted:\n{printed}"

    def _here(self, text: str) -> str:
        """Return a text of the page with the addresses that it has in this run."""
        for named, real in self.stand_ins.items():
            text = text.replace(named, real)
        text = OWN_PORT.sub(lambda found: f"{found[1]}{self._ports.setdefault(found[2], free_port())}", text)
        return ADDRESS.sub(self.address, text)

    def _there(self, text: str) -> str:
        """Return what was printed as it would be with the addresses of the page."""
        for port, real in self._ports.items():
            text = re.sub(rf"\b{real}\b", port, text)
        return text

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

    def _start(self, command: str, shown: str) -> str:
        """Run a program that goes on, or ends by itself, in a terminal of its own, until it says what is shown."""
        port = re.search(r"--port (\d+)", command)
        if port is not None:  # what was there is stopped first, as with Ctrl-C
            self._stop(self._on_port.pop(port[1], None))
        log = self.home / f"terminal-{len(self._others)}.log"
        with log.open("w") as output:
            self._others.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {command}"], cwd=self.home, env=self._environ(), text=True,
                    stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                )
            )  # fmt: skip

        process = self._others[-1]
        if port is not None:
            self._on_port[port[1]] = process

        def has_said_it() -> bool:
            return process.poll() is not None or matches(f"…{shown}…", self._there(log.read_text()))

        with contextlib.suppress(AssertionError):
            wait_until(has_said_it, seconds=START_SECONDS, what=command)
        said = self._there(log.read_text())
        return shown if matches(f"…{shown}…", said) else said

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
    def _stop(process: "subprocess.Popen[str] | None") -> None:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

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
