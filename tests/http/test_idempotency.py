"""The same request twice makes one task: by Idempotency-Key, and by the client's own id."""

import asyncio
import uuid
from pathlib import Path

from tests.http.kit import serving

KEY = {"idempotency-key": "order-66"}


async def test_the_same_key_and_request_is_the_same_task(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        first = await server.client.post("/v1/jobs/add", json={"a": 1, "b": 2}, headers=KEY)
        again = await server.client.post(
            "/v1/jobs/add", content=b'{ "b":2,"a" : 1}', headers={**KEY, "content-type": "application/json"}
        )
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json()["id"] == again.json()["id"]
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        waited = await server.client.post("/v1/jobs/add", json={"a": 1, "b": 2}, headers={**KEY, "prefer": "wait=30"})
        assert (waited.status_code, waited.json(), waited.headers["idempotency-replayed"]) == (200, 3, "true")


async def test_the_same_key_for_another_request_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.client.post("/v1/jobs/add", json={"a": 1}, headers=KEY)
        for answer in (
            await server.client.post("/v1/jobs/add", json={"a": 2}, headers=KEY),
            await server.client.post("/v1/jobs/add", json={"a": 1}, headers={**KEY, "offload-priority": "5"}),
            await server.client.post("/v1/jobs/ping", json={}, headers=KEY),
            await server.client.post("/v1/tasks", json={"job": "add", "input": {"a": 1}}, headers=KEY),
        ):
            assert (answer.status_code, answer.json()["code"]) == (422, "IdempotencyKeyReused")
        assert len(server.memory._rows) == 1


async def test_requests_that_cross_make_one_task(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        asked = [server.client.post("/v1/jobs/add", json={"a": 1}, headers=KEY) for _ in range(20)]
        answers = await asyncio.gather(*asked)
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert [answer.headers.get("idempotency-replayed") for answer in answers].count(None) == 1


async def test_uploads_are_compared_by_what_is_in_them(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:

        async def upload(data: bytes) -> tuple[int, str]:
            files = {"image": ("cat.png", data, "image/png")}
            answer = await server.client.post("/v1/jobs/copy", files=files, headers=KEY)
            return answer.status_code, answer.json().get("id", answer.json().get("code"))

        first = await upload(b"meow")
        assert await upload(b"meow") == first
        assert await upload(b"woof") == (422, "IdempotencyKeyReused")
        await server.finished(first[1])
        kept = [blob for blob in server.blobs() if "/in" in blob]
        assert len(kept) == 1 and kept[0].startswith(f"t/{first[1]}/"), "the uploads of the repeats are gone"


async def test_put_under_the_clients_own_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        own = str(uuid.uuid4())
        body = {"job": "add", "input": {"a": 1}, "run": True, "tags": {"a": "b"}}
        first = await server.client.put(f"/v1/tasks/{own}", json=body)
        assert (first.status_code, first.json()["id"], first.headers["location"]) == (201, own, f"/v1/tasks/{own}")
        await server.finished(own)
        again = await server.client.put(f"/v1/tasks/{own.upper()}", json=body)
        assert (again.status_code, again.json()["id"], again.json()["status"]) == (200, own, "DONE")
        other = await server.client.put(f"/v1/tasks/{own}", json={**body, "input": {"a": 2}})
        assert (other.status_code, other.json()["code"]) == (409, "TaskAlreadyExists")


async def test_a_put_that_is_refused_does_not_touch_the_files_of_the_task_that_has_the_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        own = str(uuid.uuid4())
        first = {"job": "copy", "input": {"image": "data:image/png,first"}, "run": True}
        assert (await server.client.put(f"/v1/tasks/{own}", json=first)).status_code == 201
        other = {**first, "input": {"image": "data:image/png,second"}}
        assert (await server.client.put(f"/v1/tasks/{own}", json=other)).status_code == 409
        assert (await server.client.put(f"/v1/tasks/{own}", json=first)).status_code == 200
        assert (await server.client.get(f"/v1/tasks/{own}/input/image")).content == b"first"
        await server.finished(own)
        assert (await server.client.get(f"/v1/tasks/{own}/result")).content == b"first"
        assert len([blob for blob in server.blobs() if "/in" in blob]) == 1


async def test_an_own_id_has_to_be_version_4(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for own in (str(uuid.uuid5(uuid.NAMESPACE_DNS, "x")), "00000000-0000-0000-0000-000000000000", "x", "1" * 32):
            answer = await server.client.put(f"/v1/tasks/{own}", json={"job": "ping"})
            assert (answer.status_code, answer.json()["code"]) == (400, "WrongTaskIdFormat")


async def test_a_batch_can_be_repeated_whole(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        body = {"tasks": [{"job": "add", "input": {"a": n}} for n in range(3)]}
        first = await server.client.post("/v1/tasks/batch", json=body, headers=KEY)
        again = await server.client.post("/v1/tasks/batch", json=body, headers=KEY)
        assert [task["id"] for task in first.json()["tasks"]] == [task["id"] for task in again.json()["tasks"]]
        assert again.headers["idempotency-replayed"] == "true"
        longer = {"tasks": [*body["tasks"], {"job": "ping"}]}
        other = await server.client.post("/v1/tasks/batch", json=longer, headers=KEY)
        assert (other.status_code, other.json()["code"]) == (422, "IdempotencyKeyReused")
        assert len(server.memory._rows) == 3
