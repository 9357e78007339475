"""A private PostgreSQL server for tests: a free port, a folder of its own, and everything that can happen to it."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.backends.free_port import free_port
from tests.backends.waiting import wait_until

START_SECONDS = 60.0
USER = "offload"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "fsync": "on",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "autovacuum_naptime": "5s",
}
MISSING = "PostgreSQL is not installed; tests/install_tools.sh installs it"


class Postgres:
    """One server; leaving stops it and removes its folder. It refuses to be root, so root runs it as another user."""

    def __init__(self, settings: Mapping[str, str] | None = None, *, password: str | None = None) -> None:
        self._settings = {**SETTINGS, **(settings or {})}
        self._password = password
        self._folder: Path | None = None
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        login = USER if self._password is None else f"{USER}:{self._password}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    @property
    def log(self) -> str:
        return (self._home / "log").read_text()

    def start(self) -> Self:
        """Return when it takes connections; on the same port and with the same data each time."""
        binaries = find_binaries()
        if binaries is None:
            pytest.skip(MISSING)
        if self._folder is None:
            self._folder = self._initialized(binaries)
        with (self._home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [binaries / "postgres", "-D", self._home / "data", "-p", str(self.port), "-k", str(self._home),
                 *(f"--{name}={value}" for name, value in self._settings.items())],
                stdout=log, stderr=log, start_new_session=True, cwd="/", **as_other(),
            )  # fmt: skip
        wait_until(self._answers, seconds=START_SECONDS, what="PostgreSQL to take connections", log=self._home / "log")
        return self

    def kill(self) -> None:
        """End all its processes as a power cut would, as far as processes can."""
        assert self.process is not None
        self._signal_all(signal.SIGKILL)
        self.process.wait()
        (self._home / "data" / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop it at once; sessions are cut off, as an administrator does it."""
        self._end(signal.SIGQUIT)

    def shut_down(self) -> None:
        """Stop it in good order; sessions are told."""
        self._end(signal.SIGINT)

    def pause(self) -> None:
        """Let it be there and say nothing."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def run(self, sql: str, database: str = "postgres") -> str:
        """Run statements with psql; return what it printed, bare."""
        binaries = find_binaries()
        assert binaries is not None
        done = subprocess.run(
            [str(binaries / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", sql],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def create(self, database: str, *, template: str = "template0") -> str:
        """Make a database; return its URL."""
        self.run(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.url(database)

    def standby(self) -> "Postgres":
        """Return a server, still to be started, that has what this one has now, falls behind, and can only be read."""
        binaries = find_binaries()
        assert binaries is not None
        found = Postgres(self._settings, password=self._password)
        found._folder = _new_folder()
        data = found._home / "data"
        done = subprocess.run(
            [binaries / "pg_basebackup", "-d", self.url(), "-D", data, "-c", "fast", "--no-sync"],
            capture_output=True, text=True, cwd="/", **as_other(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (data / "standby.signal").touch()
        if owner := as_other().get("user"):
            shutil.chown(data / "standby.signal", owner)
        return found

    @property
    def _home(self) -> Path:
        assert self._folder is not None
        return self._folder

    def _initialized(self, binaries: Path) -> Path:
        folder = _new_folder()
        command: list[str | Path] = [binaries / "initdb", "-D", folder / "data", "-U", USER, "-E", "UTF8", "--locale=C"]
        command += ["--no-sync", "--no-instructions", "-A", "trust" if self._password is None else "scram-sha-256"]
        if self._password is not None:
            secret = folder / "secret"
            secret.write_text(self._password)
            secret.chmod(0o644)
            command += [f"--pwfile={secret}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", **as_other())
        assert done.returncode == 0, done.stderr
        return folder

    def _end(self, how: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def _signal_all(self, what: signal.Signals) -> None:
        assert self.process is not None
        children = list(_children(self.process.pid))
        for pid in (self.process.pid, *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)

    def _answers(self) -> bool:
        binaries = find_binaries()
        assert binaries is not None and self.process is not None
        assert self.process.poll() is None, self.log
        ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, timeout=10).returncode == 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is None:
            return
        if self.process is not None and self.process.poll() is None:
            self.resume()
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def find_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL of this machine."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if debian:
        return debian[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


def as_other() -> dict[str, Any]:
    """Return who runs the server: nobody but root has to be another."""
    if os.getuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres"}


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="offload-postgres-"))
    if owner := as_other().get("user"):
        shutil.chown(folder, owner)
    return folder


def _children(pid: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                yield int(stat.parent.name)
