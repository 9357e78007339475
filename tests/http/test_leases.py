"""Leases: external jobs, whose tasks workers elsewhere get, keep and end by HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from offload import job
from offload.core.catalog import Catalog
from offload.core.errors import WrongJob
from offload.core.keys import KeyScope
from offload.core.lease import Lease, Use, lease_of, node_of, read, signed
from offload.core.task import ALL
from offload.core.transitions import Event, Facts, decide
from offload.engine.lessor import Wish
from offload.engine.parts import Timing
from offload.ports import Ask
from tests.egress.zoo import Visit, Zoo
from tests.http.key_kit import ask, bearer, key_of
from tests.http.kit import serving
from tests.http.lease_kit import (
    CATALOG,
    FOUND,
    code,
    lend,
    say,
    submit_image,
    until,
    until_event,
    until_status,
)


async def test_a_task_is_lent_kept_and_done(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        task_id = await submit_image(server)
        lent = await lend(server, queues=["vision"])
        assert (lent["task"], lent["job"], lent["attempt"]) == (task_id, "detect", 1)
        image = {"name": "cat.png", "type": "image/png", "size": 5, "url": lent["download_from"]["image"]}
        assert lent["input"] == {"threshold": 0.7, "image": image}
        assert (await server.client.get(image["url"])).content == b"image"
        running = (await server.client.get(f"/v1/tasks/{task_id}")).json()
        assert running["status"] == "RUNNING"
        beat = await say(server, lent, "heartbeat", {"progress": {"fraction": 0.5, "message": "half"}})
        assert beat.status_code == 200 and beat.json()["canceled"] is False
        assert beat.json()["expires_at"] >= lent["expires_at"]
        done = await say(server, lent, "done", FOUND)
        assert (done.status_code, done.json()) == (200, {"task": task_id, "status": "DONE"})
        assert (await say(server, lent, "done", FOUND)).status_code == 200, "said again, because an answer was lost"
        task = await server.finished(task_id)
        assert task["result"] == FOUND and task["attempt"] == 1
        events = (await server.client.get(f"/v1/tasks/{task_id}/events")).text
        assert events.index("QUEUED") < events.index("RUNNING") < events.index("half") < events.index("DONE")
        for verb in ("heartbeat", "failed"):
            assert code(await say(server, lent, verb, {} if verb == "heartbeat" else {"error": "x"})) == (
                409,
                "LeaseLost",
            )
        assert code(await server.client.get(image["url"])) == (409, "LeaseLost")


async def test_a_worker_that_waits_is_served_when_a_task_comes_and_nobody_polls(tmp_path: Path) -> None:
    slow = Timing(sweep_seconds=3600)
    async with serving(tmp_path, catalog=CATALOG, timing=slow) as server:
        first = asyncio.create_task(lend(server, queues=["default"]))
        await until(lambda: server.engine.lessor.waiting == 1)
        second = asyncio.create_task(lend(server))
        await until(lambda: server.engine.lessor.waiting == 2)
        for waiting, song in ((first, "do"), (second, "re")):
            await server.submit("sing", {"song": song})
            assert (await waiting)["input"] == {"song": song}, "who came first is served first"


async def test_waiting_ends_with_the_node(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        waiting = asyncio.create_task(server.client.post("/v1/leases", json={"wait": 60}))
        await until(lambda: server.engine.lessor.waiting == 1)
        server.engine.begin_stop()
        assert (await waiting).status_code == 204
        assert code(await server.client.post("/v1/leases", json={"wait": 60})) == (503, "Stopping")


async def test_nothing_is_lent_that_is_not_there_or_not_wanted(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        await server.submit("sing")
        for wish in ({"queues": ["vision"]}, {"jobs": ["detect", "draw"]}, {"queues": ["vision"], "jobs": ["sing"]}):
            assert (await server.client.post("/v1/leases", json=wish)).status_code == 204
        await server.client.post("/v1/queues/default/pause")
        assert (await server.client.post("/v1/leases", json={"wait": 0})).status_code == 204
        waiting = asyncio.create_task(lend(server))
        await until(lambda: server.engine.lessor.waiting == 1)
        await server.client.post("/v1/queues/default/resume")
        assert (await waiting)["job"] == "sing"
        assert (await server.client.post("/v1/leases")).status_code == 204


async def test_lines_keep_their_order_and_a_request_gets_no_more_than_it_wants(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        for song, priority in (("a", "0"), ("b", "0"), ("c", "5"), ("d", "0")):
            await server.submit("sing", {"song": song}, offload_priority=priority)
        answers = [await server.client.post("/v1/leases", json={"max": 3}) for _ in range(2)]
        songs = [[lent["input"]["song"] for lent in answer.json()] for answer in answers]
        assert songs == [["c", "a", "b"], ["d"]]


async def test_every_queue_has_its_turn(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        for number in range(4):
            await server.submit("sing", {"song": str(number)})
            await server.submit("draw", {"title": str(number)})
        jobs = [(await lend(server))["job"] for _ in range(4)]
        assert sorted(jobs) == ["draw", "draw", "sing", "sing"]


async def test_a_worker_that_hung_up_has_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        waiting = [asyncio.create_task(server.client.post("/v1/leases", json={"wait": 60})) for _ in range(3)]
        await until(lambda: server.engine.lessor.waiting == 3)
        waiting[0].cancel()
        waiting[2].cancel()
        await until(lambda: server.engine.lessor.waiting == 1)
        await server.submit("sing")
        assert (await waiting[1]).json()[0]["attempt"] == 1


async def test_what_was_claimed_for_somebody_who_left_goes_back_and_burns_no_attempt(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        task_id = (await server.submit("sing"))["id"]
        lessor, claim = server.engine.lessor, server.memory.claim
        leaving = asyncio.Event()

        async def slow_claim(*asks: Any, **facts: Any) -> Any:
            claimed = await claim(*asks, **facts)
            if claimed:
                await leaving.wait()
            return claimed

        server.memory.claim = slow_claim  # type: ignore[method-assign]
        waiting = asyncio.create_task(lessor.lease(ALL, Wish(), wait_seconds=60))
        await until_status(server, task_id, "RUNNING")
        waiting.cancel()
        await asyncio.wait([waiting])
        leaving.set()
        task = await until_status(server, task_id, "QUEUED")
        assert task["attempt"] == 0
        assert (await lend(server))["attempt"] == 1


async def test_a_lease_is_fenced_also_where_the_number_of_its_attempt_comes_again(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        await server.submit("sing")
        held = await server.memory.claim(
            [Ask(queue="default", jobs=("sing",), limit=1)], node=node_of(b"12345678"), now=1e12, lease_until=2e12
        )
        old = signed(server.keyring.secret, Use.HOLD, lease_of(held[0]))
        assert (await server.client.post(f"/v1/leases/{old}/heartbeat")).status_code == 200
        await server.memory.apply([decide(held[0], Event.RELEASE, Facts(now=1.0))])
        new = await lend(server)
        assert new["attempt"] == held[0].attempt == 1
        answer = await server.client.post(f"/v1/leases/{old}/done", json=1)
        assert code(answer) == (409, "LeaseLost")
        assert (await say(server, new, "done", 2)).status_code == 200


async def test_a_cancel_is_brought_home_by_a_heartbeat_and_confirmed(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        task_id = (await server.submit("sing"))["id"]
        lent = await lend(server)
        assert (await server.client.post(f"/v1/tasks/{task_id}/cancel")).status_code == 202
        beats = [(await say(server, lent, "heartbeat")).json() for _ in range(2)]
        assert [beat["canceled"] for beat in beats] == [True, True]
        answer = await say(server, lent, "failed", {"error": "canceled", "retry": True})
        assert answer.json() == {"task": task_id, "status": "CANCELED"}
        assert (await server.finished(task_id))["status"] == "CANCELED"


async def test_what_was_lent_to_somebody_who_hung_up_at_that_moment_goes_back(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        claim = server.memory.claim

        async def claim_and_hang_up(*asks: Any, **facts: Any) -> Any:
            if claimed := await claim(*asks, **facts):
                waiting.cancel()
            return claimed

        server.memory.claim = claim_and_hang_up  # type: ignore[method-assign]
        waiting = asyncio.create_task(server.engine.lessor.lease(ALL, Wish(), wait_seconds=60))
        await until(lambda: server.engine.lessor.waiting == 1)
        task_id = (await server.submit("sing"))["id"]
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert (await until_status(server, task_id, "QUEUED"))["attempt"] == 0


async def test_a_failure_is_tried_again_or_not_as_its_worker_says(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        task_id = await submit_image(server)
        failure = {"error": {"type": "CudaError", "message": "no memory", "traceback": "line 1"}, "retry_after": 0}
        answer = await say(server, await lend(server), "failed", failure)
        assert answer.json() == {"task": task_id, "status": "QUEUED"}
        lent = await lend(server)
        assert lent["attempt"] == 2
        answer = await say(server, lent, "failed", {"error": "not an image", "retry": False})
        assert answer.json()["status"] == "FAILED"
        again = await say(server, lent, "failed", {"error": "not an image", "retry": False})
        assert again.json() == answer.json(), "said again, because an answer was lost"
        task = await server.finished(task_id)
        assert (task["reason"], task["error"]["message"]) == ("error", "not an image")


async def test_files_that_are_named_by_url_are_fetched_before_their_task_is_lent(tmp_path: Path) -> None:
    async def gives(visit: Visit) -> None:
        await visit.answer("200 OK", b"image", "content-type: image/png")

    async with Zoo({"/cat.png": gives}).open() as zoo, serving(tmp_path, catalog=CATALOG) as server:
        waiting = asyncio.create_task(lend(server))
        await server.submit("detect", {"image": zoo.url("/cat.png")})
        lent = await waiting
        assert (lent["attempt"], lent["input"]["image"]["name"]) == (1, "cat.png")
        assert (await server.client.get(lent["download_from"]["image"])).content == b"image"
        gone = await server.submit("detect", {"image": zoo.url("/nowhere")})
        assert (await server.client.post("/v1/leases", json={"wait": 0.01})).status_code == 204
        assert (await server.finished(gone["id"]))["reason"] == "input_unavailable"


async def test_a_lease_is_signed_for_one_use_and_told_to_nobody_else(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        await submit_image(server)
        lent = await lend(server)
        hold, reading = lent["lease"], lent["download_from"]["image"]
        writing = lent["upload_to"]
        altered = hold[:-1] + ("A" if hold[-1] != "A" else "B")
        next_attempt = hold.replace(".1.", ".2.", 1)
        for text in (altered, next_attempt, "x", "..", reading.split("/")[3], writing.split("/")[3]):
            for verb in ("heartbeat", "done", "failed"):
                body = {"error": "x"} if verb == "failed" else None
                answer = await server.client.post(f"/v1/leases/{text}/{verb}", json=body)
                assert code(answer) == (404, "LeaseDoesNotExist" if text != ".." else "RouteDoesNotExist"), text
        for text in (hold, writing.split("/")[3], altered):
            assert code(await server.client.get(f"/v1/leases/{text}/input/image")) == (404, "LeaseDoesNotExist")
        for text in (hold, reading.split("/")[3]):
            assert code(await server.client.put(f"/v1/leases/{text}/result")) == (404, "LeaseDoesNotExist")
        task = (await server.client.get(f"/v1/tasks/{lent['task']}")).text
        told = task + await until_event(server, lent["task"], "RUNNING")
        assert not any(text.rpartition(".")[2] in told for text in (hold, reading.split("/")[3]))


async def test_links_and_leases_work_on_every_node_of_a_store(tmp_path: Path) -> None:
    lease = Lease(task_id="8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34", attempt=3, node="lease:0011223344556677")
    text = signed(b"secret", Use.HOLD, lease)
    assert read(b"secret", Use.HOLD, text) == lease
    assert read(b"other", Use.HOLD, text) is None and read(b"secret", Use.READ, text) is None
    async with serving(tmp_path, catalog=CATALOG) as server:
        assert len(server.keyring.secret) == 32
        assert await server.memory.keys.secret(b"x" * 32) == server.keyring.secret


async def test_a_key_with_work_leases_the_tasks_of_its_own_owner_and_an_admins_those_of_all(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        at_work = await key_of(server, "anna", KeyScope.WORK)
        admin = await key_of(server, "ops", KeyScope.ADMIN)
        foreign = (await ask(server, bert, "POST", "/v1/jobs/sing", {})).json()["id"]
        own = (await ask(server, anna, "POST", "/v1/jobs/sing", {})).json()["id"]
        assert code(await ask(server, anna, "POST", "/v1/leases", {})) == (403, "ScopeMissing")
        (lent,) = (await ask(server, at_work, "POST", "/v1/leases", {"max": 9})).json()
        assert lent["task"] == own
        (others,) = (await ask(server, admin, "POST", "/v1/leases", {"max": 9})).json()
        assert others["task"] == foreign
        for verb in ("heartbeat", "log", "done", "failed"):
            body = {"error": "x"} if verb == "failed" else None
            answer = await ask(server, at_work, "POST", f"/v1/leases/{others['lease']}/{verb}", body)
            assert code(answer) == (404, "LeaseDoesNotExist")
            answer = await ask(server, anna, "POST", f"/v1/leases/{lent['lease']}/{verb}", body)
            assert code(answer) == (403, "ScopeMissing"), "who submits and reads is no worker"
        put = await server.client.put(lent["upload_to"], content=b"song")
        assert put.status_code == 200, "the link needs no key"
        headers = bearer(at_work)
        assert (await server.client.post(f"/v1/leases/{lent['lease']}/done", headers=headers)).status_code == 200
        assert (await ask(server, anna, "GET", f"/v1/tasks/{own}/result")).content == b"song"


async def test_a_worker_that_waits_for_one_owner_is_not_woken_for_another(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG, timing=Timing(sweep_seconds=3600)) as server:
        anna, bert = await key_of(server, "anna"), await key_of(server, "bert")
        tokens = [await key_of(server, owner, KeyScope.WORK) for owner in ("anna", "bert")]
        of_anna, of_bert = [
            asyncio.create_task(ask(server, token, "POST", "/v1/leases", {"wait": 60})) for token in tokens
        ]
        await until(lambda: server.engine.lessor.waiting == 2)
        made = (await ask(server, bert, "POST", "/v1/jobs/sing", {})).json()["id"]
        assert (await of_bert).json()[0]["task"] == made and not of_anna.done()
        made = (await ask(server, anna, "POST", "/v1/jobs/sing", {})).json()["id"]
        assert (await of_anna).json()[0]["task"] == made


async def test_a_server_of_external_jobs_alone_is_ready_and_says_which_they_are(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        described = (await server.client.get("/v1/jobs/detect")).json()
        assert described["external"] is True and described["file_parameters"] == ["image"]
        assert (await server.client.get("/v1/jobs/ping")).json()["external"] is False
        assert (await server.client.get("/readyz")).status_code == 200


def test_what_an_external_job_cannot_have_is_said() -> None:
    with pytest.raises(WrongJob, match="external=True and workers, memory"):
        Catalog.of_jobs(job(external=True, workers=2, memory="1GB")(lambda: None))
    with pytest.raises(WrongJob, match="external='yes' is wrong: it takes True or False"):
        job(external="yes")(lambda: None)  # type: ignore[call-overload]
