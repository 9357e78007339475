"""How fast the stores accept, and run whole life cycles, with few and with many tasks waiting."""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from offload.core.task import Status, Task
from offload.core.transitions import Event, Facts, decide
from offload.ports import Ask, NewTask
from offload.ports.store import Store
from offload.stores.sqlite.store import SqliteStore

INPUT = b'{"url":"https://example.org/items/0123456789abcdef","width":1280,"note":"' + b"x" * 220 + b'"}'
RESULT = b'{"ok":true,"bytes":123456,"sha":"0123456789abcdef0123456789abcdef"}'
CALLERS = 64
CLAIMED = 32
NODES = 2
FILL = 2_000
HOT = "SELECT round(100.0 * n_tup_hot_upd / n_tup_upd) FROM pg_stat_user_tables WHERE relname = 'counts'"


def new_task() -> NewTask:
    now = time.time()
    task = Task(
        id=str(uuid.uuid4()),
        job="resize",
        queue="images",
        status=Status.CREATED,
        created_at=now,
        input=INPUT,
        input_bytes=len(INPUT),
    )
    change = decide(task, Event.RUN, Facts(now=now))
    return NewTask(task=change.after, events=change.events)


async def accept(store: Store, seconds: float) -> str:
    """Let 64 callers add one task each, again and again."""
    waits: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while (start := time.perf_counter()) < end:
            await store.add([new_task()])
            waits.append(time.perf_counter() - start)

    await _all(caller, CALLERS)
    waits.sort()
    p50, p99 = (waits[int(len(waits) * part)] * 1000 for part in (0.5, 0.99))
    return f"{len(waits) / seconds:>9,.0f} adds/s           p50 {p50:5.2f} ms  p99 {p99:6.2f} ms"


async def cycle(store: Store, seconds: float) -> str:
    """Add one task for each that ends: 64 callers, and a node that claims for free places and records ends together."""
    done = 0
    end = time.perf_counter() + seconds
    places = asyncio.Semaphore(0)  # one for each task that ended: as many are added, so that equally many stay queued

    async def add() -> None:
        while time.perf_counter() < end:
            await store.add([new_task()])
            await places.acquire()

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < end:
            now = time.time()
            ask = Ask(queue="images", jobs=("resize",), limit=CLAIMED)
            claimed = await store.claim([ask], node="bench", now=now, lease_until=now + 30)
            facts = Facts(now=time.time(), result=RESULT, keep_seconds=3600.0)
            written = await store.apply([decide(task, Event.SUCCEED, facts) for task in claimed])
            done += sum(written)
            for _ in written:
                places.release()
        for _ in range(CALLERS):
            places.release()

    await asyncio.gather(_all(add, CALLERS), _all(work, NODES))
    return f"{done / seconds:>9,.0f} life cycles/s"


async def fill(store: Store, count: int) -> None:
    for _ in range(0, count, FILL):
        await store.add([new_task() for _ in range(FILL)])


async def _all(function: Callable[[], Awaitable[None]], times: int) -> None:
    await asyncio.gather(*(function() for _ in range(times)))


async def measure(store: Store, queued: list[int], seconds: float) -> None:
    filled = 0
    for count in queued:
        await fill(store, count - filled)
        filled = count
        for name, run in (("accept", accept), ("cycle", cycle)):
            cpu, start = time.process_time(), time.perf_counter()
            line = await run(store, seconds)
            busy = (time.process_time() - cpu) / (time.perf_counter() - start)
            print(f"{count:>9,} queued  {name:<7}{line}   CPU {busy:.2f}", flush=True)


async def on_sqlite(queued: list[int], seconds: float) -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path = Path(folder) / "bench.sqlite"
        store = await SqliteStore.open(path)
        await measure(store, queued, seconds)
        await store.close()
        start = time.perf_counter()
        store = await SqliteStore.open(path)
        opening = time.perf_counter() - start
        await store.close()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"opened in {opening:.2f} s, file {path.stat().st_size / 2**20:,.0f} MiB, peak memory {peak:,.0f} MiB")


async def on_postgresql(queued: list[int], seconds: float) -> None:
    """On a server of its own, on this machine, that confirms nothing before its disk has."""
    from offload.stores.postgres.store import PostgresStore
    from tests.backends.postgres import Postgres

    with Postgres({"shared_buffers": "256MB", "max_wal_size": "4GB"}) as server:
        store = await PostgresStore.open(server.url())
        await measure(store, queued, seconds)
        await store.close()
        size = server.run("SELECT pg_size_pretty(pg_database_size(current_database()))")
        hot = server.run(HOT)
        print(f"database {size}, {hot} % of the counters' updates in place")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", default=["sqlite", "postgresql"], help="sqlite, postgresql")
    parser.add_argument("--queued", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    for name, run in (("sqlite", on_sqlite), ("postgresql", on_postgresql)):
        if name in given.stores:
            print(f"{name}:", flush=True)
            await run(given.queued, given.seconds)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
