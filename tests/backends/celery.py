"""A private Celery worker for tests: prefork, its own name, and ways to lose it."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.backends.waiting import wait_until

START_SECONDS = 60.0


class CeleryWorker:
    """One `celery worker` and its children; leaving kills them all."""

    def __init__(
        self, app: str, folder: Path, env: Mapping[str, str], *flags: str, name: str = "one", concurrency: int = 2
    ) -> None:
        self._command = [sys.executable, "-m", "celery", "-A", app, "worker", "--concurrency", str(concurrency)]
        self._command += ["--hostname", f"{name}@test", "--loglevel", "info", *flags]
        self._env = {**os.environ, **env}
        self._log = folder / f"celery-{name}.log"
        self._starts = 0
        self.process: subprocess.Popen[bytes] | None = None

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> Self:
        """Return when it is ready for tasks."""
        self._starts += 1
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._env, start_new_session=True
            )  # fmt: skip
        wait_until(self._is_ready, seconds=START_SECONDS, what="the Celery worker to be ready")
        return self

    def kill(self) -> None:
        """End it and its children as a power cut would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        """Let it hear and say nothing; what its children run goes on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        return self.log().count(" ready.") >= self._starts

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
