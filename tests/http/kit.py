"""A whole server in one process: the real engine and HTTP front, and workers that run jobs in threads of the test."""

import asyncio
import atexit
import inspect
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
from pydantic import BaseModel
from starlette.types import ASGIApp

from offload import File, Reject, Retry, job
from offload.bells import LocalBell
from offload.blobs.local import LocalBlobs
from offload.clock import SteadyClock
from offload.core.admission import Capacity
from offload.core.catalog import Catalog
from offload.core.files import scratch
from offload.core.outcome import Failed, LocalFile, Outcome, Stopped, Succeeded, Unrun
from offload.core.task import Reason, Task, TaskError, TaskEvent
from offload.egress import Door
from offload.engine.engine import Engine, NodeClock
from offload.engine.gate import Gate
from offload.engine.hub import Hub
from offload.engine.keyring import Keyring
from offload.engine.parts import Lending, Parts, Timing
from offload.engine.ringer import Ringer
from offload.engine.scheduler import Scheduler
from offload.engine.stats import Stats
from offload.engine.traffic import Traffic
from offload.http.app import make_app
from offload.http.config import HttpConfig
from offload.ports import Listener, Room, TaskStore, Work, WorkerState
from offload.ports.previews import Previews
from offload.stores.memory import MemoryStore
from offload.stores.memory_nodes import MemoryNodes
from tests.trees import files_below

PLACES = 8
GATES: dict[str, threading.Event] = {}
"""Jobs named `hold` wait here until the test opens the gate of their name."""


def gate_of(name: str) -> threading.Event:
    """Return the gate of this name, whoever comes first: the test or the job."""
    return GATES.setdefault(name, threading.Event())


class Person(BaseModel):
    name: str
    age: int


@job
def ping() -> str:
    """Answer at once."""
    return "pong"


@job
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@job
def greet(person: Person, words: list[str] | None = None) -> dict[str, str]:
    return {"said": f"{' '.join(words or ['hello'])} {person.name}, {person.age}"}


@job(queue="images")
def copy(image: File, width: int = 100, name: str = "") -> File:
    """Give back the file that came in."""
    return File(image.read_bytes(), name=name or image.name, type=image.type)


@job(queue="images")
def count(images: list[File], title: str = "") -> dict[str, Any]:
    return {"title": title, "sizes": [image.size for image in images], "names": [image.name for image in images]}


@job(retry=Retry(max_attempts=1))
def fail(message: str) -> None:
    print("about to fail")
    raise ValueError(message)


@job
def reject(message: str) -> None:
    raise Reject(message)


@job
def hold(gate: str) -> str:
    """Wait until the test opens the gate."""
    gate_of(gate).wait(60)
    return gate


@job
def numbers(count: int) -> list[int]:
    return list(range(count))


CATALOG = Catalog.of_jobs(ping, add, greet, copy, count, fail, reject, hold, numbers)


@dataclass
class ThreadWorkers:
    """Runs each attempt in a thread of its own kind, so that no other work waits for one; a cancel lets go of it."""

    catalog: Catalog
    listener: Listener | None = None
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2 * PLACES))
    """More than places: one that was let go of may hold its thread until the test opens a gate."""

    async def start(self, listener: Listener) -> None:
        self.listener = listener

    def jobs(self) -> list[str]:
        return list(self.catalog.jobs)

    def rooms(self) -> list[Room]:
        return [Room(lane="shared", jobs=tuple(self.catalog.jobs), places=PLACES - len(self.running))]

    def run(self, work: Work) -> None:
        self.running[work.task.id] = asyncio.get_running_loop().create_task(self._attempt(work))

    def cancel(self, task: Task) -> None:
        if task.id in self.running:
            self.running[task.id].cancel("canceled")

    def workers(self) -> list[WorkerState]:
        return [WorkerState(pid=1, lane="shared", tasks=(), busy_seconds=0.0, memory_bytes=1000, tasks_done=0)]

    async def stop(self, *, grace_seconds: float) -> None:
        attempts = list(self.running.values())
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        ended = asyncio.get_running_loop().run_in_executor(None, self.threads.shutdown)
        while not ended.done():  # a job that begins in this moment makes its gate only now
            for gate in list(GATES.values()):
                gate.set()
            await asyncio.wait([ended], timeout=0.01)

    async def _attempt(self, work: Work) -> None:
        task = work.task
        log = TaskEvent(kind="log", at=task.created_at, attempt=task.attempt, data=b'"a line\\n"')
        try:
            loop = asyncio.get_running_loop()
            outcome: Outcome = await loop.run_in_executor(self.threads, _call, self.catalog, work)
        except asyncio.CancelledError as canceled:
            outcome = Stopped() if canceled.args else Unrun()
        del self.running[task.id]
        assert self.listener is not None
        self.listener.ended(task, outcome, (log,))
        self.listener.room_freed()


@cache
def _scratch_of_all() -> str:
    folder = tempfile.mkdtemp(prefix="offload-http-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _call(catalog: Catalog, work: Work) -> Outcome:
    found, task = catalog.find(work.task.job), work.task
    scratch.set(tempfile.mkdtemp(dir=_scratch_of_all()))
    try:
        files = {ref.field: File(work.paths[ref.blob], name=ref.name, type=ref.type) for ref in task.files}
        assert callable(found.target) and not inspect.isclass(found.target)
        result = found.target(**found.schema.bind(task.input, files))
        if isinstance(result, File):
            local = LocalFile(path=str(result.path), name=result.name, type=result.type, size=result.size)
            return Succeeded(file=local)
        return Succeeded(json=found.schema.dump_result(result))
    except Reject as error:
        return Failed(reason=Reason.REJECTED, error=TaskError(type="Reject", message=str(error)), retry=False)
    except Exception as error:
        about = TaskError(type=type(error).__name__, message=str(error), traceback="Traceback …")
        return Failed(reason=Reason.ERROR, error=about)


@dataclass
class Server:
    """A running server and a client of it."""

    engine: Engine
    app: ASGIApp
    client: httpx2.AsyncClient
    blobs_root: Path
    memory: MemoryStore
    keyring: Keyring

    async def submit(self, job: str, body: object = None, **headers: str) -> dict[str, Any]:
        """Submit JSON and return the task."""
        answer = await self.client.post(f"/v1/jobs/{job}", json={} if body is None else body, headers=dashed(headers))
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def finished(self, task_id: str) -> dict[str, Any]:
        """Wait for the end of a task."""
        answer = await self.client.get(f"/v1/tasks/{task_id}", headers={"prefer": "wait=30"})
        found: dict[str, Any] = answer.json()
        assert found["status"] in ("DONE", "FAILED", "CANCELED", "DELETED"), found
        return found

    def blobs(self) -> list[str]:
        """Return every file that the blob store holds."""
        return files_below(self.blobs_root)


@asynccontextmanager
async def serving(
    root: Path,
    *,
    config: HttpConfig | None = None,
    capacity: Capacity | None = None,
    catalog: Catalog = CATALOG,
    disk_free_min_bytes: int = 0,
    wrap_store: Callable[[MemoryStore], TaskStore] | None = None,
    timing: Timing = Timing(sweep_seconds=0.05),  # noqa: B008 - it cannot change
    lending: Lending = Lending(),  # noqa: B008
    previews: Previews | None = None,
    clock: NodeClock | None = None,
) -> AsyncIterator[Server]:
    """Start a server; leaving stops it."""
    clock, memory = clock or SteadyClock(), MemoryStore()
    store: TaskStore = memory if wrap_store is None else wrap_store(memory)
    blobs = LocalBlobs(root / "blobs")
    await blobs.start()
    traffic = Traffic({queue: capacity or Capacity() for queue in catalog.queues}, clock)
    ringer = Ringer(LocalBell())
    keyring = Keyring(memory.keys, clock, ringer)
    await keyring.start()
    parts = Parts(
        node="node-1",
        version="0",
        catalog=catalog,
        store=store,
        queues=memory,
        files=memory,
        deliveries=memory.deliveries,
        nodes=MemoryNodes(),
        history=memory.history,
        schedules=memory.schedules,
        blobs=blobs,
        workers=ThreadWorkers(catalog),
        egress=Door(allow=["127.0.0.0/8"]),
        clock=clock,
        timing=timing,
        traffic=traffic,
        hub=Hub(store, ringer),
        ringer=ringer,
        stats=Stats(),
        chance=lambda: 0.5,
        lending=lending,
        previews=previews,
        secret=keyring.secret,
    )
    engine = Engine(parts, Gate(traffic, blobs, disk_free_min_bytes=disk_free_min_bytes), clock)
    await engine.start()
    await engine.gate.look()
    await (scheduler := Scheduler(parts, engine, keyring)).start("kit.py")
    app = make_app(engine, config or HttpConfig(), keyring)
    transport = httpx2.ASGITransport(app=app)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            yield Server(engine, app, client, root / "blobs", memory, keyring)
    finally:
        await scheduler.stop()
        await keyring.stop()
        await engine.stop(0.0)


def dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
