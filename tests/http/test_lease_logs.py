"""What workers elsewhere say for the log of their attempt."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from offload.core.task import ALL, TaskEvent
from offload.engine import logbook
from offload.engine.logbook import LEFT_OUT
from offload.engine.parts import Lending
from tests.http.kit import Server, serving
from tests.http.lease_kit import CATALOG, code, lend, say, submit_image, until_event


async def tell(server: Server, lent: dict[str, Any], text: str | bytes) -> httpx2.Response:
    headers = {"content-type": "text/plain"}
    return await server.client.post(f"/v1/leases/{lent['lease']}/log", content=text, headers=headers)


async def logs(server: Server, task_id: str) -> str:
    return (await server.client.get(f"/v1/tasks/{task_id}/logs")).text


async def test_what_a_worker_says_is_told_while_it_works_and_kept(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        task_id = await submit_image(server)
        lent = await lend(server)
        said = await tell(server, lent, "reading the image\n")
        assert (said.status_code, said.json()) == (200, {"left_bytes": 256 * 1024 - 64})
        await until_event(server, task_id, "reading the image")
        assert (await tell(server, lent, "grüße " * 20)).json() == {"left_bytes": 256 * 1024 - 64 - 160}
        assert (await tell(server, lent, "")).json() == {"left_bytes": 256 * 1024 - 64 - 160}
        assert (await tell(server, lent, b"\xff odd\n")).status_code == 200
        await say(server, lent, "failed", {"error": "again"})
        lent = await lend(server)
        await tell(server, lent, "once more\n")
        await say(server, lent, "failed", {"error": "no", "retry": False})
        first = "reading the image\n" + "grüße " * 20 + "\ufffd odd\n"
        assert await logs(server, task_id) == f"--- attempt 1 ---\n{first}--- attempt 2 ---\nonce more\n"
        events = (await server.client.get(f"/v1/tasks/{task_id}/events")).text
        assert events.count("event: log") == 4 and events.index("reading") < events.index("FAILED")


async def test_a_log_has_its_limit_also_on_a_node_that_did_not_count_from_the_start(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG, lending=Lending(log_bytes_max=300)) as server:
        task_id = await submit_image(server)
        lent = await lend(server)
        assert (await tell(server, lent, "x" * 100)).json() == {"left_bytes": 200}
        assert (await tell(server, lent, "y")).json() == {"left_bytes": 136}
        await until_event(server, task_id, "y")
        server.engine.leases._logbook._left.clear()  # as after a restart
        assert (await tell(server, lent, "zü" * 100)).json() == {"left_bytes": 0}
        assert (await tell(server, lent, "more")).json() == {"left_bytes": 0}
        await until_event(server, task_id, "left out")
        kept = "".join(
            str(each.data, "utf-8") for each in await server.engine.events(ALL, task_id) if each.kind == "log"
        )
        assert kept.count("zü") == 45 and kept.count("left out") == 1 and "more" not in kept
        assert (await logs(server, task_id)).endswith("z" + LEFT_OUT)


async def test_each_attempt_has_the_limit_of_its_job_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "READ_MAX", 2)  # a log of several pages is counted whole
    monkeypatch.setattr(logbook, "KNOWN_MAX", 1)
    async with serving(tmp_path, catalog=CATALOG) as server:
        task_id = (await server.client.post("/v1/jobs/mutter", json={})).json()["id"]
        for word in ("first", "second"):
            lent = await lend(server)
            assert (await tell(server, lent, word)).json() == {"left_bytes": 136}
            assert (await tell(server, lent, "x" * 70)).json() == {"left_bytes": 66}
            await until_event(server, task_id, word)
            await say(server, lent, "failed", {"error": "again"})
        assert len(server.engine.leases._logbook._left) == 1, "what nobody asks for any more is forgotten"
        lent = await lend(server)
        for text in ("alpha", "beta", "gamma"):
            await tell(server, lent, text)
        await until_event(server, task_id, "gamma")
        server.engine.leases._logbook._left.clear()
        assert (await tell(server, lent, "")).json() == {"left_bytes": 200 - 3 * 64}


async def test_what_is_said_at_the_same_time_is_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        read = server.memory.events

        async def read_slowly(*what: Any, **more: Any) -> list[TaskEvent]:
            await asyncio.sleep(0)  # as a store on a disk does
            return await read(*what, **more)

        monkeypatch.setattr(server.memory, "events", read_slowly)
        await server.client.post("/v1/jobs/mutter", json={})
        lent = await lend(server)
        said = await asyncio.gather(*(tell(server, lent, "x" * 100) for _ in range(5)))
        assert sorted(each.json()["left_bytes"] for each in said) == [0, 0, 0, 0, 100]


async def test_only_who_holds_the_lease_is_heard_and_not_for_long(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        await submit_image(server)
        lent = await lend(server)
        assert code(await tell(server, lent, "x" * (32 * 1024 + 1))) == (413, "BodyTooLarge")
        assert code(await tell(server, {"lease": lent["lease"] + "A"}, "x"))[0] == 404
        await say(server, lent, "failed", {"error": "no", "retry": False})
        assert code(await tell(server, lent, "too late")) == (409, "LeaseLost")
