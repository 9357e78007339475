"""What more nodes on one PostgreSQL database bring: tasks that wait, tasks that do nothing, and accepting."""

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.http_bench import PARKED, Row, Scale, fill
from bench.load import Figures, press
from bench.servers import HERE, Server
from tests.backends.postgres import Postgres

NAP_SECONDS = 0.05
"""What a task of the waiting kind takes; it leaves the cores alone."""
WORKERS = 8
WIDE = ("--queue-tasks-max=100000000", "--queue-bytes-max=100GiB", "--log-level=warning", "--nice=0")
"""Not nice, for the machine may do other things meanwhile, and those who step back would wait for them."""
SHAPES = ((1, 0), (1, 1), (2, 1), (2, 2), (2, 3), (2, 4))
"""How many nodes serve and how many only work; the first is one node that does both."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Nodes that run: those that serve are asked in turn."""

    name: str
    servers: Sequence[Server]
    workers: int


def nodes(scale: Scale) -> Iterator[Row]:
    """Measure the same work on one node and on several."""
    first: dict[str, float] = {}
    for serving, working in SHAPES:
        with Postgres() as database, started(database.create("bench"), serving, working) as shape:
            shape.servers[0].ask("POST", "/v1/queues/parked/pause")
            naps = int(min(scale.seconds, 6.0) * shape.workers / NAP_SECONDS)
            for what, rate in (
                (f"tasks of {NAP_SECONDS * 1e3:.0f} ms", drained(shape, "nap", naps)),
                ("no-op tasks, queued to DONE", drained(shape, "noop", scale.tasks // 6)),
                ("accepts, 32 connections to each server", accepted(shape, scale)),
            ):
                first.setdefault(what, rate)
                remark = f"{rate / first[what]:.2f} times one node" if rate != first[what] else "one node"
                yield Row(what=f"{what}, {shape.name}", figure=f"{rate:,.0f}/s", remark=remark)


def drained(shape: Shape, job: str, number: int) -> float:
    """Return how many tasks a second go from queued to DONE."""
    queue = f"/v1/queues/{job}s" if job == "nap" else f"/v1/queues/{job}"
    server = shape.servers[0]
    server.ask("POST", f"{queue}/pause")
    fill(server, job, number, {"seconds": NAP_SECONDS} if job == "nap" else {"number": 1})
    time.sleep(1.0)  # every node has heard of the pause
    began = time.perf_counter()
    server.ask("POST", f"{queue}/resume")
    while server.ask("GET", queue)["tasks"]:
        time.sleep(0.05)
    return number / (time.perf_counter() - began)


def accepted(shape: Shape, scale: Scale) -> float:
    """Return how many tasks a second the servers take together."""
    found: list[Figures] = []

    def one(server: Server) -> None:
        found.append(press(server, PARKED, connections=32, seconds=scale.seconds))

    threads = [threading.Thread(target=one, args=(server,)) for server in shape.servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(figures.per_second for figures in found)


@contextlib.contextmanager
def started(store: str, serving: int, working: int) -> Iterator[Shape]:
    """Start nodes on an empty database, all on this machine."""
    with tempfile.TemporaryDirectory(prefix="offload-bench-") as data, contextlib.ExitStack() as stack:
        common = (str(HERE / "jobs.py"), "--store", store, "--data", data, "--port", "0", *WIDE)
        staff = ("--workers", str(WORKERS)) if not working else ("--no-workers",)
        servers = []
        for _ in range(serving):
            line = stack.enter_context(_process("serve", *common, *staff))
            host, _, port = line.strip().rpartition("/")[2].rpartition(":")
            servers.append(Server(host=host, port=int(port), pid=0))
        for _ in range(working):
            stack.enter_context(_process("work", *common, "--workers", str(WORKERS)))
        name = f"{serving} serving and {working} working" if working else "one node"
        yield Shape(name=name, servers=servers, workers=WORKERS * max(1, working))


@contextlib.contextmanager
def _process(*words: str) -> Iterator[str]:
    command = [str(Path(sys.executable).with_name("offload")), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
