"""The image-resizing microservice, as its clients see it: create, run, poll, fetch, delete."""

import asyncio
import io
import os
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.backends.every_server import VARIABLE, Combination, asked_for, combination_of, variables_of
from tests.servers import Server

pytestmark = pytest.mark.story

ROOT = Path(__file__).parents[2]
PHOTO = ROOT / "examples" / "data" / "astronaut.jpg"
ON = [asked_for()] if os.environ.get(VARIABLE) else [Combination(), combination_of("postgresql+redis+s3")]
"""Every run of the tests has a server on something else than the usual."""


@pytest.fixture(params=ON, ids=str)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    data = tmp_path / "data"
    return Server(ROOT / "examples" / "gallery.py", data, env=variables_of(data, request.param))


async def test_a_photograph_is_created_run_fetched_and_deleted(server: Server) -> None:
    with server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
            uploaded = await http.post("/v1/files", content=PHOTO.read_bytes(), headers={"Content-Type": "image/jpeg"})
            assert uploaded.status_code == 201
            body = {"job": "resize", "input": {"image": f"file:{uploaded.json()['id']}", "width": 160}, "run": False}

            created = await http.post("/v1/tasks", json=body)
            assert created.status_code == 201
            task = created.headers["Location"]
            assert created.json()["status"] == "CREATED"
            early = await http.get(f"{task}/result")
            assert (early.status_code, "Retry-After" in early.headers) == (202, True)

            assert (await http.post(f"{task}/run")).status_code == 202
            assert (await http.post(f"{task}/run")).status_code == 200
            seen = ["CREATED"]
            async with asyncio.timeout(60):
                while seen[-1] != "DONE":
                    status = (await http.get(f"{task}/status")).json()["status"]
                    if status != seen[-1]:
                        seen.append(status)
            assert seen == [known for known in ("CREATED", "QUEUED", "RUNNING", "DONE") if known in seen]

            result = await http.get(f"{task}/result")
            assert result.headers["Content-Type"] == "image/jpeg"
            assert Image.open(io.BytesIO(result.content)).width == 160
            part = await http.get(f"{task}/result", headers={"Range": "bytes=0-99"})
            assert (part.status_code, part.content) == (206, result.content[:100])

            deleted = await http.delete(task)
            assert (deleted.status_code, deleted.json()["status"]) == (200, "DELETED")
            gone = await http.get(f"{task}/result")
            assert (gone.status_code, gone.json()["code"]) == (410, "TaskIsDeleted")
            assert (await http.get(task)).json()["status"] == "DELETED"
            assert (await http.post(f"{task}/run")).json()["code"] == "TaskIsDeleted"


async def test_the_errors_of_the_flow_say_what_is_wrong(server: Server) -> None:
    unknown = "/v1/tasks/8c0f4c7e-3b1d-4f6a-9e2b-5d7a1c9e0f34"
    with server:
        async with httpx2.AsyncClient(base_url=server.url, timeout=60) as http:
            for path, status, code in (
                (unknown, 404, "TaskDoesNotExist"),
                (f"{unknown}/result", 404, "TaskDoesNotExist"),
                ("/v1/tasks/42", 400, "WrongTaskIdFormat"),
                ("/v1/jobs/nothing", 404, "JobDoesNotExist"),
            ):
                answer = await http.get(path)
                assert (answer.status_code, answer.json()["code"]) == (status, code), path
                assert answer.headers["Content-Type"] == "application/problem+json"
            wrong = await http.post("/v1/tasks", json={"job": "nothing", "input": {}})
            assert (wrong.status_code, wrong.json()["code"]) == (400, "WrongJobDefinitionValue")
            both = await http.post("/v1/jobs/resize", json={"width": "wide", "colour": "red"})
            assert (both.status_code, both.json()["code"]) == (422, "WrongInput")
            assert {mistake["loc"][0] for mistake in both.json()["errors"]} == {"image", "width", "colour"}
            broken = await http.post(
                "/v1/jobs/resize?width=100",
                content=b"not an image",
                headers={"Content-Type": "image/jpeg", "Prefer": "wait=30"},
            )
            assert (broken.status_code, broken.json()["code"]) == (409, "TaskFailed")
            task = (await http.get(broken.headers["Location"])).json()
            assert (task["status"], task["reason"], task["attempt"]) == ("FAILED", "rejected", 1)
