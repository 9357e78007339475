"""What workers elsewhere give as results, and what they say that is wrong."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.egress.zoo import Visit, Zoo
from tests.http.kit import serving
from tests.http.lease_kit import CATALOG, FOUND, SHORT, code, lend, say, submit_image


async def test_an_uploaded_file_is_the_result_once_that_is_said(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        task_id = (await server.submit("draw", {"title": "sea"}))["id"]
        lent = await lend(server)
        assert code(await say(server, lent, "done")) == (422, "WrongResult"), "nothing was uploaded"
        large = await server.client.put(lent["upload_to"], content=b"x" * 1001)
        assert (large.status_code, large.json()["limit"]) == (413, 1000)
        for content in (b"first", b"<svg/>"):
            named = {"content-type": "image/svg+xml", "content-disposition": 'attachment; filename="../sea.svg"'}
            put = await server.client.put(lent["upload_to"], content=content, headers=named)
            assert put.status_code == 200 and put.json()["size"] == len(content)
        assert (await server.client.get(f"/v1/tasks/{task_id}")).json()["status"] == "RUNNING"
        assert code(await say(server, lent, "done", {"a": 1})) == (422, "WrongResult"), "either a file or JSON"
        answer = await server.client.post(f"/v1/leases/{lent['lease']}/done")
        assert answer.json() == {"task": task_id, "status": "DONE"}
        result = await server.client.get(f"/v1/tasks/{task_id}/result")
        assert (result.content, result.headers["content-type"]) == (b"<svg/>", "image/svg+xml")
        assert 'filename="sea.svg"' in result.headers["content-disposition"]
        assert len([name for name in server.blobs() if "/out/" in name]) == 2, "the file and the note about it"


async def test_an_upload_that_outlasts_its_lease_leaves_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG, timing=SHORT) as server:
        task_id = (await server.submit("draw", {"title": "sea"}))["id"]
        lent = await lend(server)

        async def slowly() -> AsyncIterator[bytes]:
            yield b"half"
            assert (await server.finished(task_id))["reason"] == "worker_lost"
            yield b"whole"

        late = await server.client.put(lent["upload_to"], content=slowly())
        assert code(late) == (409, "LeaseLost")
        assert not [name for name in server.blobs() if "/out/" in name]


async def test_what_was_uploaded_and_never_confirmed_is_gone_with_its_attempt(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        task_id = (await server.submit("draw", {"title": "sea"}))["id"]
        lent = await lend(server)
        await server.client.put(lent["upload_to"], content=b"half")
        assert (await say(server, lent, "failed", {"error": "broken"})).json()["status"] == "FAILED"
        assert code(await server.client.get(f"/v1/tasks/{task_id}/result")) == (409, "TaskFailed")
        assert not [name for name in server.blobs() if "/out/" in name]


async def test_a_result_must_be_what_the_job_says_that_it_returns(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        await submit_image(server)
        lent = await lend(server)
        wrong = await say(server, lent, "done", [{"label": "cat", "score": "high"}])
        assert code(wrong) == (422, "WrongResult")
        assert wrong.json()["errors"][0]["loc"] == [0, "score"]
        assert code(await say(server, lent, "done", "cat")) == (422, "WrongResult")
        headers = {"content-type": "application/json"}
        done = f"/v1/leases/{lent['lease']}/done"
        assert code(await server.client.post(done, content=b"{", headers=headers)) == (422, "WrongResult")
        assert code(await server.client.post(done, content=b"[]")) == (415, "WrongContentType")
        assert (await say(server, lent, "done", FOUND)).status_code == 200


async def test_json_that_is_large_is_kept_as_a_file(tmp_path: Path) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        task_id = (await server.submit("sing"))["id"]
        song = "la" * 100_000
        assert (await say(server, await lend(server), "done", song)).json()["status"] == "DONE"
        result = await server.client.get(f"/v1/tasks/{task_id}/result")
        assert result.json() == song and result.headers["content-type"] == "application/json"


async def test_a_result_is_pushed_where_its_client_wants_it_before_the_task_is_done(tmp_path: Path) -> None:
    taken: list[tuple[str, bytes]] = []

    async def takes(visit: Visit) -> None:
        await visit.read_body()
        taken.append((visit.method, visit.body))
        await visit.answer("200 OK")

    async with Zoo({"/put": takes}).open() as zoo, serving(tmp_path, catalog=CATALOG) as server:
        task_id = (await server.submit("draw", {"title": "sea"}, offload_upload_to=zoo.url("/put")))["id"]
        lent = await lend(server)
        await server.client.put(lent["upload_to"], content=b"<svg/>")
        answer = await server.client.post(f"/v1/leases/{lent['lease']}/done")
        assert (answer.status_code, answer.json()["status"]) == (200, "DONE")
        assert taken == [("PUT", b"<svg/>")]
        assert (await server.finished(task_id))["status"] == "DONE"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"queues": ["nowhere"]}, (404, "QueueDoesNotExist")),
        ({"jobs": ["nothing"]}, (404, "JobDoesNotExist")),
        ({"jobs": ["ping"]}, (400, "WrongValue")),
        ({"queues": []}, (400, "WrongValue")),
        ({"queues": "vision"}, (400, "WrongValue")),
        ({"max": 0}, (400, "WrongValue")),
        ({"max": 101}, (400, "WrongValue")),
        ({"max": True}, (400, "WrongValue")),
        ({"wait": -1}, (400, "WrongValue")),
        ({"wait": "long"}, (400, "WrongValue")),
        ({"nope": 1}, (400, "WrongValue")),
        ([], (400, "WrongBody")),
    ],
)
async def test_a_wrong_wish_is_told_so(tmp_path: Path, body: object, expected: tuple[int, str]) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        assert code(await server.client.post("/v1/leases", json=body)) == expected


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("heartbeat", {"progress": 5}),
        ("heartbeat", {"progress": {"fraction": 2}}),
        ("heartbeat", {"progress": {"part": 0.5}}),
        ("heartbeat", {"fraction": 0.5}),
        ("failed", {}),
        ("failed", {"error": {"type": "x"}}),
        ("failed", {"error": 5}),
        ("failed", {"error": "x", "retry": "no"}),
        ("failed", {"error": "x", "retry_after": -1}),
        ("failed", {"error": "x" * 20_000}),
    ],
)
async def test_wrong_words_about_an_attempt_change_nothing(tmp_path: Path, verb: str, body: object) -> None:
    async with serving(tmp_path, catalog=CATALOG) as server:
        await server.submit("sing")
        lent = await lend(server)
        assert code(await say(server, lent, verb, body)) == (400, "WrongValue")
        assert (await say(server, lent, "heartbeat")).status_code == 200
