"""Load: many connections that send the same request again and again; wrk where it is installed, else asyncio."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.servers import Server


@dataclass(frozen=True, kw_only=True)
class Shot:
    """The request that is sent."""

    path: str
    body: str = "{}"
    headers: str = ""
    """Further lines, each with its \\r\\n."""

    def raw(self, server: Server) -> bytes:
        head = f"POST {self.path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nContent-Type: application/json\r\n"
        return f"{head}{self.headers}Content-Length: {len(self.body)}\r\n\r\n{self.body}".encode()


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What came of it; times in milliseconds."""

    per_second: float
    p50: float
    p99: float
    errors: int


def press(server: Server, shot: Shot, *, connections: int, seconds: float) -> Figures:
    """Send `shot` over so many connections for so long."""
    if shutil.which("wrk"):
        return _wrk(server, shot, connections, seconds)
    return asyncio.run(_own(server, shot, connections, seconds))


def percentile(sorted_values: list[float], share: float) -> float:
    """Return the value below which `share` of them lie."""
    return (
        sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))] if sorted_values else float("nan")
    )


def _wrk(server: Server, shot: Shot, connections: int, seconds: float) -> Figures:
    headers = {"Content-Type": "application/json"}
    headers.update({line.partition(": ")[0]: line.partition(": ")[2] for line in shot.headers.split("\r\n") if line})
    table = ", ".join(f"[{json.dumps(name)}]={json.dumps(value)}" for name, value in headers.items())
    script = f"""
wrk.method = "POST"; wrk.body = {json.dumps(shot.body)}; wrk.headers = {{{table}}}
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("FIGURES %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "shot.lua").write_text(script)
        target = f"http://{server.host}:{server.port}{shot.path}"
        options = ["-t", "1", "-c", str(connections), "-d", f"{seconds:.0f}s", "--timeout", "30s"]
        command = ["wrk", *options, "-s", f"{folder}/shot.lua", target]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in printed.splitlines() if line.startswith("FIGURES"))
    requests, microseconds, p50, p99, errors = map(int, line.split()[1:])
    return Figures(per_second=requests / microseconds * 1e6, p50=p50 / 1e3, p99=p99 / 1e3, errors=errors)


async def _own(server: Server, shot: Shot, connections: int, seconds: float) -> Figures:
    raw = shot.raw(server)
    until = time.monotonic() + seconds
    taken: list[float] = []
    errors = 0

    async def one() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(server.host, server.port)
        while (began := time.monotonic()) < until:
            writer.write(raw)
            status = await answer(reader)
            errors += status >= 400
            taken.append((time.monotonic() - began) * 1e3)
        writer.close()

    started = time.monotonic()
    await asyncio.gather(*(one() for _ in range(connections)))
    spent = time.monotonic() - started
    taken.sort()
    return Figures(
        per_second=len(taken) / spent, p50=percentile(taken, 0.5), p99=percentile(taken, 0.99), errors=errors
    )


async def answer(reader: asyncio.StreamReader) -> int:
    """Read one answer and return its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    at = lower.find(b"content-length:")
    length = int(lower[at + 15 :].partition(b"\r\n")[0]) if at >= 0 else 0
    await reader.readexactly(length)
    return int(head[9:12])
