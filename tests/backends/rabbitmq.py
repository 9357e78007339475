"""A private RabbitMQ for tests: free ports, a private folder, and a name server of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import pytest

from tests.backends.free_port import free_port
from tests.backends.waiting import wait_until

START_SECONDS = 120.0
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitServer:
    """One RabbitMQ node and its epmd; leaving kills both. Durable queues are there again after `kill` and `start`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._epmd_port, self._dist_port = free_port(), free_port()
        self._node = f"t{self.port}@localhost"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> Self:
        """Return when it lets clients in; on the same port each time."""
        program = PROGRAM if PROGRAM.exists() else shutil.which("rabbitmq-server")
        if program is None:
            pytest.skip("rabbitmq-server is not installed; tests/install_tools.sh installs it")
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "plugins").write_text("[].\n")
        with (self._folder / "out").open("ab") as out:
            self.process = subprocess.Popen(
                [program], env=self._environ(), stdout=out, stderr=out, start_new_session=True, cwd=self._folder
            )
        wait_until(self._answers, seconds=START_SECONDS, what="RabbitMQ to answer", log=self._folder / "out")
        return self

    def kill(self) -> None:
        """End it as a power cut would; its name server stays."""
        self._signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def pause(self) -> None:
        """Let it be there and say nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for process in self._left_behind():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def control(self, *words: str) -> str:
        """Run `rabbitmqctl` against it and return what it prints."""
        done = subprocess.run(
            [PROGRAM.with_name("rabbitmqctl"), "--quiet", *words], env=self._environ(), capture_output=True, text=True,
            timeout=60, check=True,
        )  # fmt: skip
        return done.stdout

    def _environ(self) -> dict[str, str]:
        folder = self._folder
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self._folder / "out").read_text()[-3000:]
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"  # a method frame: it begins to talk
        except OSError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _family(self) -> list[psutil.Process]:
        """Return the server's processes, without the name server."""
        assert self.process is not None
        try:
            first = psutil.Process(self.process.pid)
            every = [first, *first.children(recursive=True)]
            return [each for each in every if each.name() != "epmd"]
        except psutil.NoSuchProcess:
            return []

    def _left_behind(self) -> list[psutil.Process]:
        """Return what still has our folder as its home: the name server, which is nobody's child."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME") == str(self._folder):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
