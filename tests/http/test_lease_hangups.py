"""A worker that goes away while it is being lent a task: the next one gets it, and no lease has to end before."""

import asyncio
import itertools
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from offload.core.task import ALL, Status
from tests.http.kit import Server, serving
from tests.http.lease_kit import CATALOG, until

TURNS_MIN = 3
"""Of the loop: with fewer no request for a lease gets to its answer."""
BODY = b'{"jobs": ["sing"]}'


class Worker:
    """Asks for a lease, without a socket between."""

    def __init__(self, server: Server) -> None:
        self.hangs_up = asyncio.Event()
        self.heard = False
        self._asked = self._gone = False
        header = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"18")]
        scope = {
            "type": "http", "method": "POST", "path": "/v1/leases", "raw_path": b"/v1/leases", "query_string": b"",
            "headers": header, "client": ("127.0.0.1", 1), "http_version": "1.1",
        }  # fmt: skip
        self.asking = asyncio.ensure_future(server.app(scope, self._receive, self._send))

    async def _receive(self) -> MutableMapping[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": BODY}
        await self.hangs_up.wait()
        self._gone = True
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self.heard = self.heard or not self._gone


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_task_is_not_lent_to_a_worker_that_went_away_in_whatever_moment(
    tmp_path: Path, is_cancelled: bool
) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        for turns in itertools.count():  # of the loop, until it is too late to go away: the answer was sent
            task_id = (await server.submit("sing"))["id"]
            worker = Worker(server)
            for _ in range(turns):
                await asyncio.sleep(0)
            if is_cancelled:
                worker.asking.cancel()
            worker.hangs_up.set()
            with suppress(asyncio.CancelledError):
                await worker.asking
            if not worker.heard:
                await _given_back(server, task_id)
                await server.engine.delete(ALL, task_id)
            elif turns > TURNS_MIN:
                break


async def _given_back(server: Server, task_id: str) -> None:
    async with asyncio.timeout(10):
        await until(lambda: server.engine._dispatcher.held() == 0)
        while (await server.engine.get(ALL, task_id)).status is not Status.QUEUED:
            await asyncio.sleep(0.002)
