"""What was solved: many clients at once of a job that takes half a second of CPU, synchronous and through offload."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.http_bench import Row
from bench.load import Shot, answer, percentile
from bench.servers import Server, flask_server, offload_server

CLIENTS = 100
WORKERS = 2
PATIENCE_SECONDS = 10.0
"""How long a client of the synchronous application waits before it gives up."""


@dataclass
class Told:
    """How a crowd fared; times in seconds."""

    answered: list[float] = field(default_factory=list)
    gave_up: int = 0


def compared() -> Iterator[Row]:
    """Let a crowd come to both."""
    with flask_server(WORKERS) as server:
        told = asyncio.run(_crowd(server, Shot(path="/compute"), PATIENCE_SECONDS))
        yield _row("gunicorn + Flask, 2 synchronous workers", told)
    with offload_server(workers=WORKERS) as server:
        began = time.perf_counter()
        shot = Shot(path="/v1/jobs/compute", body='{"seconds": 0.5}')
        yield _row("offload, 2 workers", asyncio.run(_crowd(server, shot, PATIENCE_SECONDS)))
        while server.ask("GET", "/v1/queues/busy")["tasks"]:
            time.sleep(0.05)
        done = len(server.ask("GET", f"/v1/tasks?status=DONE&limit={CLIENTS}")["tasks"])
        yield Row(
            what="offload: every task done after", figure=f"{time.perf_counter() - began:.1f} s", remark=f"{done} DONE"
        )


async def _crowd(server: Server, shot: Shot, patience_seconds: float) -> Told:
    told = Told()

    async def one() -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(patience_seconds):
                reader, writer = await asyncio.open_connection(server.host, server.port)
                writer.write(shot.raw(server))
                status = await answer(reader)
                writer.close()
            assert status < 300, status
            told.answered.append(time.perf_counter() - began)
        except TimeoutError:
            told.gave_up += 1

    await asyncio.gather(*(one() for _ in range(CLIENTS)))
    return told


def _row(what: str, told: Told) -> Row:
    times = sorted(told.answered)
    slowest = f"median {percentile(times, 0.5) * 1e3:,.0f} ms, slowest {times[-1] * 1e3:,.0f} ms" if times else "nobody"
    gave_up = f"; {told.gave_up} gave up after {PATIENCE_SECONDS:.0f} s" if told.gave_up else "; nobody gave up"
    return Row(what=f"{CLIENTS} clients at once, {what}", figure=f"{len(times)} answered", remark=slowest + gave_up)
