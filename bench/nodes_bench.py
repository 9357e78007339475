"""What more nodes on one PostgreSQL database bring: tasks that wait, tasks that do nothing, and accepting."""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

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
    """Nodes that run: those that serve are asked in turn. `pids` are the nodes', without their workers."""

    name: str
    servers: Sequence[Server]
    workers: int
    pids: Sequence[int]
    database: int


def nodes(scale: Scale) -> Iterator[Row]:
    """Measure the same work on one node and on several, and what it takes of the cores, whoever else uses them."""
    first: dict[str, float] = {}
    for serving, working in SHAPES:
        with Postgres() as database, started(database, serving, working) as shape:
            shape.servers[0].ask("POST", "/v1/queues/parked/pause")
            naps = int(min(scale.seconds, 6.0) * shape.workers / NAP_SECONDS)
            for what, measure in (
                (f"tasks of {NAP_SECONDS * 1e3:.0f} ms", partial(drained, shape, "nap", naps)),
                ("no-op tasks, queued to DONE", partial(drained, shape, "noop", scale.tasks // 6)),
                ("accepts, 32 connections to each server", partial(accepted, shape, scale)),
            ):
                before = _spent(shape)
                number, seconds = measure()
                rate, spent = (
                    number / seconds,
                    [(b - a) / number * 1e3 for a, b in zip(before, _spent(shape), strict=True)],
                )
                first.setdefault(what, rate)
                told = f"{rate / first[what]:.2f} of one node" if len(first) == 3 and rate != first[what] else ""
                cost = "ms of a core each: nodes {:.2f}, workers {:.2f}, database {:.2f}".format(*spent)
                remark = f"{told + '; ' if told else ''}{cost}; load {os.getloadavg()[0]:.0f}"
                yield Row(what=f"{what}, {shape.name}", figure=f"{rate:,.0f}/s", remark=remark)


def _spent(shape: Shape) -> tuple[float, float, float]:
    """Return the CPU seconds of the nodes, their workers, and the database so far."""
    own = [psutil.Process(pid) for pid in shape.pids]
    workers = [child for process in own for child in process.children(recursive=True)]
    database = psutil.Process(shape.database)
    return _cpu(own), _cpu(workers), _cpu([database, *database.children(recursive=True)])


def _cpu(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def drained(shape: Shape, job: str, number: int) -> tuple[int, float]:
    """Return how many tasks went from queued to DONE, and in how many seconds."""
    queue = f"/v1/queues/{job}s" if job == "nap" else f"/v1/queues/{job}"
    server = shape.servers[0]
    server.ask("POST", f"{queue}/pause")
    fill(server, job, number, {"seconds": NAP_SECONDS} if job == "nap" else {"number": 1})
    time.sleep(1.0)  # every node has heard of the pause
    began = time.perf_counter()
    server.ask("POST", f"{queue}/resume")
    while server.ask("GET", queue)["tasks"]:
        time.sleep(0.05)
    return number, time.perf_counter() - began


def accepted(shape: Shape, scale: Scale) -> tuple[int, float]:
    """Return how many tasks the servers took together, and in how many seconds."""
    found: list[Figures] = []

    def one(server: Server) -> None:
        found.append(press(server, PARKED, connections=32, seconds=scale.seconds))

    threads = [threading.Thread(target=one, args=(server,)) for server in shape.servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return int(sum(figures.per_second for figures in found) * scale.seconds), scale.seconds


@contextlib.contextmanager
def started(database: Postgres, serving: int, working: int) -> Iterator[Shape]:
    """Start nodes on an empty database, all on this machine."""
    with tempfile.TemporaryDirectory(prefix="offload-bench-") as data, contextlib.ExitStack() as stack:
        store = database.create("bench")
        common = (str(HERE / "jobs.py"), "--store", store, "--data", data, "--port", "0", *WIDE)
        staff = ("--no-workers",) if working else ("--workers", str(WORKERS))
        serves = [stack.enter_context(_process("serve", *common, *staff)) for _ in range(serving)]
        works = [stack.enter_context(_process("work", *common, "--workers", str(WORKERS))) for _ in range(working)]
        assert database.process is not None
        yield Shape(
            name=f"{serving} serving and {working} working" if working else "one node",
            servers=[_server(line) for line, _ in serves],
            workers=WORKERS * max(1, working),
            pids=[pid for _, pid in (*serves, *works)],
            database=database.process.pid,
        )


def _server(line: str) -> Server:
    host, _, port = line.strip().rpartition("/")[2].rpartition(":")
    return Server(host=host, port=int(port), pid=0)


@contextlib.contextmanager
def _process(*words: str) -> Iterator[tuple[str, int]]:
    """Start a node; yield what it says when it is ready, and its id."""
    command = [str(Path(sys.executable).with_name("offload")), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline(), process.pid
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
