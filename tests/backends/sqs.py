"""A private stand-in for SQS: moto's server, which keeps everything in memory and checks no credentials."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.backends.free_port import free_port
from tests.backends.waiting import wait_until

START_SECONDS = 60.0


class SqsServer:
    """One `moto_server` process; leaving kills it. It forgets every queue when it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"sqs://key:secret@eu-central-1/?endpoint={quote(self.endpoint, safe='')}"

    def start(self) -> Self:
        """Return when it answers; on the same port each time."""
        if find_spec("moto") is None:
            pytest.skip("moto is not installed; the extra dev brings it")
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
                stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self._answers, seconds=START_SECONDS, what="moto to answer", log=self._folder / "log")
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self._folder / "log").read_text()[-3000:]
        try:
            with urlopen(f"{self.endpoint}/moto-api/", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
