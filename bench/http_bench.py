"""What the server does under load: accepting, running, answering, with few and with many tasks in its queue."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench.load import Shot, percentile, press
from bench.servers import Server, offload_server

PARKED = Shot(path="/v1/jobs/parked", body='{"number": 1}')
BATCH = 1_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    what: str
    figure: str
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How long and how much."""

    seconds: float
    tasks: int
    singles: int
    few: int
    many: int


FULL = Scale(seconds=10, tasks=30_000, singles=500, few=10_000, many=1_000_000)
QUICK = Scale(seconds=2, tasks=3_000, singles=50, few=1_000, many=20_000)


def accepting(scale: Scale) -> Iterator[Row]:
    """Measure durable accepts, while nothing else happens and while every core computes."""
    with offload_server() as server:
        server.ask("POST", "/v1/queues/parked/pause")
        yield from _accepts(server, scale, "idle")
        server.ask("POST", "/v1/queues/busy/pause")
        fill(server, "compute", int(scale.seconds * 60), {"seconds": 0.1})
        server.ask("POST", "/v1/queues/busy/resume")
        yield from _accepts(server, scale, "every core runs 100 ms jobs")
        state = server.ask("GET", "/v1/queues/busy")
        assert state["running"] > 0, "the cores had nothing to do any more: the figures above are of an idle machine"


def running(scale: Scale) -> Iterator[Row]:
    """Measure whole tasks: from the queue to DONE, and one at a time from the request to its result."""
    with offload_server() as server:
        before, workers = server.memory_megabytes()
        yield Row(what="memory of the server, fresh", figure=f"{before:.0f} MB", remark="shared pages counted by share")
        yield Row(what="memory of a worker, fresh", figure=f"{max(workers):.0f} MB", remark=f"{len(workers)} workers")
        yield _drain(server, scale)
        yield from _one_by_one(server, scale)
        after, workers = server.memory_megabytes()
        yield Row(what=f"memory of the server after {scale.tasks:,} tasks", figure=f"{after:.0f} MB")
        yield Row(what="memory of a worker then", figure=f"{max(workers):.0f} MB")


def queued(scale: Scale) -> Iterator[Row]:
    """Measure what a long queue costs."""
    with offload_server() as server:
        for many in (scale.few, scale.many):
            server.ask("POST", "/v1/queues/noop/pause")
            have = server.ask("GET", "/v1/queues/noop")["queued"]
            filled = _timed(partial(fill, server, "noop", many - have, {"number": 1}))
            if many == scale.many:
                rate = (many - have) / filled
                yield Row(what="accepts in batches of 1,000", figure=f"{rate:,.0f} tasks/s", remark="durable")
            figures = press(server, Shot(path="/v1/jobs/noop"), connections=32, seconds=scale.seconds)
            yield Row(
                what=f"accepts with {many:,} queued",
                figure=f"{figures.per_second:,.0f}/s",
                remark=f"p99 {figures.p99:.1f} ms",
            )
            yield Row(what=f"tasks run with {many:,} queued", figure=f"{_run_rate(server, scale):,.0f}/s")
            memory, _ = server.memory_megabytes()
            yield Row(what=f"memory of the server with {many:,} queued", figure=f"{memory:.0f} MB")


def _accepts(server: Server, scale: Scale, state: str) -> Iterator[Row]:
    for connections in (1, 64):
        figures = press(server, PARKED, connections=connections, seconds=scale.seconds)
        assert figures.errors == 0, f"{figures.errors} errors"
        yield Row(
            what=f"durable accepts, {state}, {connections} connection{'s' * (connections > 1)}",
            figure=f"{figures.per_second:,.0f}/s",
            remark=f"p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms",
        )


def _drain(server: Server, scale: Scale) -> Row:
    server.ask("POST", "/v1/queues/noop/pause")
    fill(server, "noop", scale.tasks, {"number": 1})

    def drained() -> None:
        server.ask("POST", "/v1/queues/noop/resume")
        while server.ask("GET", "/v1/queues/noop")["tasks"]:
            time.sleep(0.02)

    rate = scale.tasks / _timed(drained)
    return Row(
        what="no-op tasks from queued to DONE", figure=f"{rate:,.0f}/s", remark=f"{scale.tasks:,} tasks, durable"
    )


def _one_by_one(server: Server, scale: Scale) -> Iterator[Row]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    taken = []
    for number in range(scale.singles):
        began = time.perf_counter()
        headers = {"Content-Type": "application/json", "Prefer": "wait=30"}
        connection.request("POST", "/v1/jobs/noop", json.dumps({"number": number}), headers)
        answer = connection.getresponse()
        assert answer.status == 200 and int(answer.read()) == number
        taken.append((time.perf_counter() - began) * 1e3)
    connection.close()
    taken.sort()
    yield Row(
        what="submit to result, one at a time",
        figure=f"{percentile(taken, 0.5):.1f} ms",
        remark=f"median; p99 {percentile(taken, 0.99):.1f} ms",
    )


def _run_rate(server: Server, scale: Scale) -> float:
    before = server.ask("GET", "/v1/queues/noop")["tasks"]
    server.ask("POST", "/v1/queues/noop/resume")
    began = time.perf_counter()
    time.sleep(min(scale.seconds, 3.0))  # no more, so that the few are not all gone
    after = server.ask("GET", "/v1/queues/noop")["tasks"]
    spent = time.perf_counter() - began
    server.ask("POST", "/v1/queues/noop/pause")
    return float(before - after) / spent


def fill(server: Server, job: str, number: int, input: dict[str, object]) -> None:
    """Submit so many tasks, in batches."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=120)
    one = {"job": job, "input": input, "run": True}
    whole, rest = divmod(max(number, 0), BATCH)
    for size in [BATCH] * whole + [rest] * (rest > 0):
        connection.request(
            "POST", "/v1/tasks/batch", json.dumps({"tasks": [one] * size}), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 201, content[:300]
    connection.close()


def _timed(do: Callable[[], None]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
