"""A server with external jobs, and a worker that a test plays itself."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx2
from pydantic import BaseModel

from offload import File, Retry, job
from offload.core.catalog import Catalog
from offload.core.task import ALL
from offload.core.times import rfc3339
from offload.engine.parts import Timing
from tests.http.kit import Server, ping


class Found(BaseModel):
    label: str
    score: float


@job(external=True, queue="vision", timeout=100, retry=Retry(max_attempts=3, first_seconds=0, jitter=False))
def detect(image: File, threshold: float = 0.5) -> list[Found]:
    """Find things in an image."""
    return []


@job(external=True, queue="vision", result_bytes_max=1000, retry=Retry(max_attempts=1))
def draw(title: str) -> File:
    return File(b"")


@job(external=True, log_bytes_max=200, retry=Retry(max_attempts=3, first_seconds=0, jitter=False))
def mutter() -> None: ...


@job(external=True)
def sing(song: str = "la") -> Any: ...


CATALOG = Catalog.of_jobs(detect, draw, mutter, sing, ping)
FOUND = [{"label": "cat", "score": 0.9}]
SHORT = Timing(sweep_seconds=0.02, lease_seconds=0.2, heartbeat_seconds=0.02)


async def lend(server: Server, **wish: Any) -> dict[str, Any]:
    """Lease one task that is there, or comes soon."""
    answer = await server.client.post("/v1/leases", json={"wait": 30, **wish})
    assert answer.status_code == 200, answer.text
    (lent,) = answer.json()
    found: dict[str, Any] = lent
    return found


async def say(server: Server, lent: dict[str, Any], verb: str, body: object = None) -> httpx2.Response:
    return await server.client.post(f"/v1/leases/{lent['lease']}/{verb}", json=body)


async def submit_image(server: Server) -> str:
    headers = {"content-type": "image/png", "content-disposition": 'attachment; filename="cat.png"'}
    made = await server.client.post("/v1/jobs/detect?threshold=0.7", content=b"image", headers=headers)
    assert made.status_code == 202, made.text
    return str(made.json()["id"])


def code(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


def later(text: str, seconds: float) -> str:
    """Return a time as the server would write it."""
    return rfc3339(datetime.fromisoformat(text).timestamp() + seconds)


async def until(said: Callable[[], bool]) -> None:
    while not said():
        await asyncio.sleep(0.002)


async def until_status(server: Server, task_id: str, status: str) -> dict[str, Any]:
    while (task := (await server.client.get(f"/v1/tasks/{task_id}")).json())["status"] != status:
        await asyncio.sleep(0.002)
    found: dict[str, Any] = task
    return found


async def until_event(server: Server, task_id: str, text: str) -> str:
    """Return the stored events, once one holds this text."""
    while text not in (told := "".join(str(event.data) for event in await server.engine.events(ALL, task_id))):
        await asyncio.sleep(0.01)
    return told
