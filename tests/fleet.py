"""Several nodes on one PostgreSQL database, and clients that know all of them."""

import asyncio
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from tests.backends.postgres import Postgres
from tests.servers import Server

FINAL = {"DONE", "FAILED", "CANCELED"}
FAST = ("--lease-seconds", "2", "--heartbeat-seconds", "0.5", "--sweep-seconds", "0.2")


class Fleet:
    """Servers without workers, and nodes that only work, started side by side; leaving stops them all."""

    def __init__(self, jobs: Path, home: Path, store: str, *flags: str, serving: int, working: int) -> None:
        self._jobs, self._home = jobs, home
        self._flags = ("--store", store, *FAST, *flags)
        self.serving = [self.node(f"serves-{n}", "serve", "--no-workers") for n in range(serving)]
        self.working = [self.node(f"works-{n}", "work", "--workers", "2") for n in range(working)]

    @property
    def nodes(self) -> list[Server]:
        return [*self.serving, *self.working]

    def node(self, name: str, command: str, *flags: str, env: dict[str, str] | None = None) -> Server:
        """Return one more, not started."""
        log = self._home / f"{name}.log"
        return Server(self._jobs, self._home / "data", *self._flags, *flags, command=command, log=log, env=env)

    def logs(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text()}" for log in sorted(self._home.glob("*.log")))

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.begin()
        for node in self.nodes:
            node.await_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.__exit__(kind, error, trace)
        if error is not None:
            print(self.logs())


class Client:
    """Asks any server of a fleet, and the next when one does not answer or is stopping; counts what nobody answered."""

    def __init__(self, servers: Sequence[Server], *, patience_seconds: float = 20.0) -> None:
        self._servers = servers
        self._patience_seconds = patience_seconds
        self._turn = 0
        self._http = httpx2.AsyncClient(timeout=30)
        self.failed = 0

    async def submit(self, job: str, body: dict[str, Any]) -> str:
        """Submit a task once, however often it has to be asked for; return its id."""
        key = {"Idempotency-Key": str(uuid.uuid4())}
        answer = await self.ask("POST", f"/v1/jobs/{job}", json=body, headers=key)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    async def final(self, task_id: str) -> dict[str, Any]:
        while True:
            answer = await self.ask("GET", f"/v1/tasks/{task_id}", params={"wait": 20})
            assert answer.status_code == 200, (task_id, answer.text)
            if answer.json()["status"] in FINAL:
                found: dict[str, Any] = answer.json()
                return found

    async def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        end = asyncio.get_running_loop().time() + self._patience_seconds
        while True:
            self._turn += 1
            try:
                url = self._servers[self._turn % len(self._servers)].url
                answer = await self._http.request(method, url + path, **more)
                if answer.status_code != 503:
                    return answer
                why = answer.text
            except httpx2.TransportError as error:
                why = repr(error)
            if asyncio.get_running_loop().time() > end:
                self.failed += 1
                raise AssertionError(f"{method} {path}: nobody answered: {why}")
            await asyncio.sleep(0.05)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()


@contextmanager
def fleet(jobs: Path, home: Path, *flags: str, serving: int = 2, working: int = 2) -> Iterator[Fleet]:
    """Start a fleet with a database server of its own."""
    with Postgres() as server, Fleet(jobs, home, server.create("one"), *flags, serving=serving, working=working) as it:
        yield it
