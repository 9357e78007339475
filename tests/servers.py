"""Real servers for tests, each private to the test that starts it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.backends.every_server import store_of

READY = "offload serving at "
WORKING = "offload working as "
HEALTH = "health at "
START_SECONDS = 60.0


class Server:
    """One `offload serve` process on a free port, or another `command`; leaving stops it by SIGTERM."""

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
        self._env = {**os.environ, **store_of(data), **(env or {})}
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
        assert self.process is not None and self.process.stdout is not None
        return self.process.stdout.readline()

    def keep_port(self) -> None:
        """Take the same port in the next start."""
        self._command[self._command.index("--port") + 1] = self.url.rpartition(":")[2]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

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

    def terminate(self, seconds: float = START_SECONDS) -> int:
        """Ask it to stop and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._reap(seconds)

    def _reap(self, seconds: float = START_SECONDS) -> int:
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
                self.process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
