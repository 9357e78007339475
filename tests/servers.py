"""Real servers for tests, each private to the test that starts it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

READY = "offload serving at "
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
            command,
            str(jobs),
            "--port",
            "0",
            "--data",
            str(data),
            *flags,
        ]
        self._env = {**os.environ, **(env or {})}
        self._log = log or data.parent / f"{data.name}.log"
        self.url = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Return when the server says that it serves."""
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True, env=self._env, start_new_session=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(READY), f"the server said {line!r}\n{self.log()}"
        self.url = line.removeprefix(READY).strip()
        return self

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
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
