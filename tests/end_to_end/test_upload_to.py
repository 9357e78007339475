"""Results that go where the client wants them, with real servers and receivers that fail."""

import asyncio
from pathlib import Path

import pytest

from tests.egress.test_downloads import DATA, gives
from tests.egress.zoo import Visit
from tests.end_to_end.test_url_inputs import SOON, service

pytestmark = pytest.mark.story


async def test_a_result_goes_from_url_to_url(tmp_path: Path) -> None:
    tries = iter(["500 No", "200 OK"])

    async def takes(visit: Visit) -> None:
        await visit.read_body()
        await visit.answer(next(tries))

    async with service(tmp_path, {"/cat.jpg": gives(DATA), "/there": takes}) as it:
        body = {"job": "copy", "input": {"file": it.zoo.url("/cat.jpg?sig=hush")}, "run": True}
        made = await it.ask("POST", "/v1/tasks", json={**body, "upload_to": it.zoo.url("/there?sig=hush")})
        assert made.status_code == 201, made.text
        assert (await it.result(made.json()["id"])).content == DATA
        puts = [visit for visit in it.zoo.visits if visit.method == "PUT"]
        assert [visit.body for visit in puts] == [DATA, DATA]
        assert puts[1].headers["content-type"] == "image/jpeg"
        assert "hush" not in it.server.log()


async def test_a_result_that_its_receiver_refuses_is_kept(tmp_path: Path) -> None:
    async with service(tmp_path, {"/cat.jpg": gives(DATA)}) as it:
        header = {"Offload-Upload-To": it.zoo.url("/expired?sig=hush")}
        made = await it.ask("POST", "/v1/jobs/copy", json={"file": it.zoo.url("/cat.jpg")}, headers=header)
        answer = await it.result(made.json()["id"])
        assert (answer.content, answer.headers["offload-task-status"]) == (DATA, "FAILED")
        task = (await it.ask("GET", f"/v1/tasks/{made.json()['id']}")).json()
        assert (task["status"], task["reason"]) == ("FAILED", "upload_failed")
        assert "hush" not in it.server.log() + str(task)


async def test_a_server_that_is_killed_while_it_pushes_pushes_again(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def takes_the_second(visit: Visit) -> None:
        if begun.is_set():
            await visit.read_body()
            await visit.answer("200 OK")
        else:
            await visit.read_body()
            begun.set()
            await visit.reader.read()

    async with service(tmp_path, {"/cat.jpg": gives(DATA), "/there": takes_the_second}, **SOON) as it:
        header = {"Offload-Upload-To": it.zoo.url("/there")}
        made = await it.ask("POST", "/v1/jobs/copy", json={"file": it.zoo.url("/cat.jpg")}, headers=header)
        async with asyncio.timeout(60):
            await begun.wait()
        await asyncio.to_thread(it.server.kill)
        await asyncio.to_thread(it.server.start)
        assert (await it.result(made.json()["id"])).content == DATA
        assert it.zoo.visits[-1].body == DATA
        assert it.zoo.paths().count("/cat.jpg") == 1
