"""A private PgBouncer for tests, before a private PostgreSQL server."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.backends.free_port import free_port
from tests.backends.postgres import USER, Postgres, as_other
from tests.backends.waiting import wait_until

START_SECONDS = 60.0
SETTINGS = """
[databases]
* = host=127.0.0.1 port={server} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
server_login_retry = 0.1
"""


class PgBouncer:
    """One pooler, with the settings that it comes with but for its mode; leaving ends it."""

    def __init__(self, server: Postgres, mode: str) -> None:
        self._server, self._mode = server, mode
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()

    def url(self) -> str:
        return self._server.url().replace(f":{self._server.port}/", f":{self._port}/")

    def __enter__(self) -> Self:
        program = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if program is None:
            pytest.skip("PgBouncer is not installed; tests/install_tools.sh installs it")
        self._folder = Path(tempfile.mkdtemp(prefix="offload-pgbouncer-"))
        self._folder.chmod(0o755)
        settings = SETTINGS.format(server=self._server.port, user=USER, port=self._port, mode=self._mode)
        (self._folder / "settings").write_text(settings)
        with (self._folder / "log").open("wb") as log:
            command = [program, "-q", str(self._folder / "settings")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **as_other())
        wait_until(self._answers, seconds=START_SECONDS, what="PgBouncer to take connections", log=self._folder / "log")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        ready = ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        return subprocess.run(ready, timeout=10).returncode == 0
