"""The servers that are measured: started on a free port, their memory read, stopped again."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
START_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server."""

    host: str
    port: int
    pid: int

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Send one request and return the JSON of its answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]!r}")
            return json.loads(content) if content else None
        finally:
            connection.close()

    def memory_megabytes(self) -> tuple[float, list[float]]:
        """Return what the server holds, and what each of its workers does; shared pages are counted once."""
        own = psutil.Process(self.pid)
        workers = [child for child in own.children() if "offload.workers.child" in " ".join(child.cmdline())]
        return _held(own), [_held(child) for child in workers]


@contextlib.contextmanager
def offload_server(**settings: object) -> Iterator[Server]:
    """Serve bench/jobs.py with an empty store on the disk of the system's temporary directory."""
    with tempfile.TemporaryDirectory(prefix="offload-bench-") as data:
        command = [str(Path(sys.executable).with_name("offload")), "serve", str(HERE / "jobs.py"), "--port", "0"]
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        wide = ["--queue-tasks-max=100000000", "--queue-bytes-max=100GiB", "--log-level=warning"]
        process = subprocess.Popen([*command, "--data", data, *wide, *flags], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if "http://" not in line:
                raise RuntimeError(f"the server did not start; it said {line!r}")
            host, _, port = line.strip().rpartition("/")[2].rpartition(":")
            yield Server(host=host, port=int(port), pid=process.pid)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


@contextlib.contextmanager
def flask_server(workers: int) -> Iterator[Server]:
    """Serve bench/flask_app.py as many do: gunicorn with synchronous workers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--chdir", str(HERE.parent), "--workers", str(workers)]
    process = subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}", "--log-level", "error", "bench.flask_app:app"], start_new_session=True
    )
    try:
        server = Server(host="127.0.0.1", port=port, pid=process.pid)
        until = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                server.ask("GET", "/healthz")
                break
            if time.monotonic() > until:
                raise RuntimeError("gunicorn did not start")
            time.sleep(0.05)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def machine() -> str:
    """Return what the figures were measured on."""
    model = "unknown processor"
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    memory = psutil.virtual_memory().total / 2**30
    python = ".".join(map(str, sys.version_info[:3]))
    tool = "wrk" if shutil.which("wrk") else "our own asyncio generator"
    return f"{os.cpu_count()} CPUs ({model}), {memory:.0f} GiB, Python {python}, load by {tool} on the same machine"


def _held(process: psutil.Process) -> float:
    info = process.memory_full_info()
    held: int = getattr(info, "pss", info.rss)
    return held / 1e6
