"""Real servers for tests, each private to the test that starts it."""

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import pytest

from tests.backends.every_server import asked_for, variables_of
from tests.cutting import CuttingProxy

READY = "offload serving at "
WORKING = "offload working as "
HEALTH = "health at "
START_SECONDS, STOP_SECONDS = 120.0, 60.0
LOG_SHOWN = 6_000
"""Characters of a server's log that a failed test shows."""
_begun: "list[Server]" = []


class Server:
    """One `offload serve` process on a free port, or another `command`; leaving stops it by SIGTERM."""

    def __new__(cls, *given: Any, **named: Any) -> Self:
        """Return a pair where that is asked for, unless the nodes are a test's own."""
        pair = cls is Server and asked_for().nodes == "pair" and "--store" not in given
        return cast(Self, super().__new__(Pair)) if pair else super().__new__(cls)

    def __init__(
        self,
        jobs: Path | str,
        data: Path,
        *flags: str,
        env: dict[str, str] | None = None,
        log: Path | None = None,
        command: str = "serve",
    ) -> None:
        self._command = [
            sys.executable,
            "-m",
            "offload",
            *command.split(),
            str(jobs),
            "--port",
            "0",
            "--data",
            str(data),
            *flags,
        ]
        self._env = {**os.environ, **variables_of(data), **(env or {})}
        self._log = log or data.parent / f"{data.name}.log"
        self.url = ""
        self.name = ""
        """Of a node that only works."""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Return when the server says that it serves, or works."""
        self.begin()
        self.await_ready()
        return self

    def begin(self) -> None:
        """Start it, and return at once."""
        _begun.append(self)
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True, env=self._env, start_new_session=True
            )

    def await_ready(self) -> None:
        line = self._line()
        if line.startswith(WORKING):
            self.name = line.removeprefix(WORKING).strip()
            line = self._line()
            assert line.startswith(HEALTH), f"the node said {line!r}\n{self.log()}"
            self.url = line.removeprefix(HEALTH).strip().removesuffix("/readyz")
            return
        assert line.startswith(READY), f"the server said {line!r}\n{self.log()}"
        self.url = line.removeprefix(READY).strip()

    def _line(self) -> str:
        """Return what it says next; nothing when it ends, or says nothing for so long that it is ended."""
        assert self.process is not None and self.process.stdout is not None
        too_slow = threading.Timer(START_SECONDS, self.process.kill)
        too_slow.start()
        try:
            return self.process.stdout.readline()
        finally:
            too_slow.cancel()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def is_there(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def kill(self) -> None:
        """End it as a power cut would, as far as one process can: no handler runs."""
        assert self.process is not None
        self.process.kill()
        self._reap()

    def pause(self) -> None:
        """Let it stand still; its workers go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def terminate(self, seconds: float = STOP_SECONDS) -> int:
        """Ask it to stop and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._reap(seconds)

    def _reap(self, seconds: float = STOP_SECONDS) -> int:
        assert self.process is not None and self.process.stdout is not None
        code = self.process.wait(seconds)
        self.process.stdout.close()
        return code

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.resume()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def forget_stopped() -> None:
    """Begin a test: what earlier ones started is of interest only if it is there still."""
    _begun[:] = [server for server in dict.fromkeys(_begun) if server.is_there]


def logs() -> Iterator[tuple[str, str]]:
    """Return the logs of the servers that were there in this test, and whose they are."""
    for server in dict.fromkeys(_begun):
        end = "" if server.process is None else f", ended with {server.process.poll()}"
        yield f"{server.url}{end if not server.is_there else ''}", server.log()[-LOG_SHOWN:]


class Pair(Server):
    """A server, and beside it a node that only answers; `url` leads to the two by turns."""

    def __init__(self, *given: Any, command: str = "serve", **named: Any) -> None:
        if command != "serve" or "--reload" in given:
            pytest.skip(f"left out on {asked_for()}: a pair is of `offload serve`, which keeps its code")
        super().__init__(*given, **named)
        self._port = int([value for word, value in itertools.pairwise(self._command) if word == "--port"][-1])
        self._command += ["--port", "0"]
        self._second = Node(*given, "--no-workers", "--port", "0", **named)
        self._between: CuttingProxy | None = None

    def begin(self) -> None:
        super().begin()
        self._second.begin()

    def await_ready(self) -> None:
        super().await_ready()
        self._second.await_ready()
        self._between = CuttingProxy(self.url, self._second.url, port=self._port).__enter__()
        self.url = self._between.url

    def kill(self) -> None:
        super().kill()
        self._second.kill()
        self._part()

    def pause(self) -> None:
        super().pause()
        self._second.pause()

    def resume(self) -> None:
        super().resume()
        self._second.resume()

    def terminate(self, seconds: float = STOP_SECONDS) -> int:
        code = max(super().terminate(seconds), self._second.terminate(seconds))
        self._part()
        return code

    def _part(self) -> None:
        if self._between is not None:
            self._between.__exit__(None, None, None)
            self._between = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._second.__exit__(kind, error, trace)
        self._part()


class Node(Server):
    """One process, whatever is asked for."""
