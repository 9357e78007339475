"""What every request meets: routes, methods, request ids, problems, refusals for want of room, faults of our own."""

import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from offload.core.admission import Capacity
from offload.core.errors import DiskFull, OffloadError, StoreUnavailable
from offload.http.app import ROUTES
from offload.http.config import HttpConfig
from offload.http.problems import PROBLEMS, problem
from offload.ports import Added, NewTask
from offload.stores.memory import MemoryStore
from tests.http.kit import serving


async def test_an_unknown_address_is_404_and_no_slash_is_added(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for path in ("/nosuch", "/v1", "/v1/tasks/", "/v1/jobs/add/", "/v2/tasks", "/v1/tasks/%2e%2e/x/y/z"):
            answer = await server.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "RouteDoesNotExist"), path
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("route", ROUTES)
async def test_every_address_refuses_other_methods_and_says_which_it_takes(tmp_path: Path, route: str) -> None:
    async with serving(tmp_path) as server:
        path = "/".join("x" if part.startswith("{") else part for part in route.split("/"))
        taken = {*ROUTES[route], *(["HEAD"] if "GET" in ROUTES[route] else [])}
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"} - taken:
            answer = await server.client.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (405, "MethodNotAllowed")
            assert set(answer.headers["allow"].split(", ")) == taken


async def test_a_problem_has_every_member(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.get("/v1/jobs/nosuch")
        assert answer.json() == {
            "type": "/docs#JobDoesNotExist",
            "title": "There is no such job",
            "status": 404,
            "detail": answer.json()["detail"],
            "code": "JobDoesNotExist",
        }
        assert answer.headers["cache-control"] == "no-store"


async def test_every_answer_carries_a_request_id(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        made = [(await server.client.get("/healthz")).headers["offload-request-id"] for _ in range(2)]
        assert made[0] != made[1]
        for given, kept in (("req-1.2_3", True), ("a b", False), ("x" * 129, False), ("<script>", False), ("", False)):
            answer = await server.client.get("/nosuch", headers={"offload-request-id": given})
            assert (answer.headers["offload-request-id"] == given) is kept


def test_every_error_of_the_core_that_can_reach_a_client_has_its_status() -> None:
    inside = {"OffloadError", "Rejected", "RetryLater", "Canceled", "WrongJob", "CannotLoadJobs", "WrongSetting",
              "StoreInUse", "StoreTooNew", "StoreDamaged", "TransitionRefused", "EgressFailed", "Unreachable",
              "ExchangeFailed", "SourceUnavailable", "UploadRefused", "ResponseNotSent",
              "BrokerUnavailable"}  # fmt: skip
    waiting, found = [OffloadError], set()
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if kind.__module__.startswith("offload.") and not kind.__module__.startswith(
            ("offload.client.", "offload.testing")
        ):
            found.add(kind.code)
    assert found - inside - set(PROBLEMS) == set()


def test_a_message_with_half_a_surrogate_pair_can_still_be_told() -> None:
    assert problem(OffloadError("\ud800")).status_code == 500


@pytest.mark.parametrize(("setting", "status"), [(503, 503), (429, 429)])
async def test_a_full_queue_is_said_before_the_body_is_read(tmp_path: Path, setting: int, status: int) -> None:
    config = HttpConfig(queue_full_status=setting)
    async with serving(tmp_path, capacity=Capacity(tasks_max=2), config=config) as server:
        for _ in range(2):
            await server.submit("ping", {}, offload_delay="600")
        read = False

        async def body() -> AsyncIterator[bytes]:
            nonlocal read
            read = True
            yield b"{}"

        answer = await server.client.post(
            "/v1/jobs/ping", content=body(), headers={"content-type": "application/json", "expect": "100-continue"}
        )
        assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (status, "QueueFull", 2)
        assert "retry-after" not in answer.headers, "nothing has finished yet: there is no honest estimate"
        assert not read
        other = await server.client.post("/v1/jobs/copy", content=b"x")
        assert other.status_code == 202, "another queue has room"
        batch = {"tasks": [{"job": "ping", "run": True}]}
        assert (await server.client.post("/v1/tasks/batch", json=batch)).status_code == status
        created = await server.client.post("/v1/tasks", json={"job": "ping"})
        assert created.status_code == 201, "what does not run yet takes no room"
        run = await server.client.post(f"/v1/tasks/{created.json()['id']}/run")
        assert (run.status_code, run.json()["code"]) == (status, "QueueFull")


async def test_retry_after_is_told_once_it_is_known(tmp_path: Path) -> None:
    async with serving(tmp_path, capacity=Capacity(tasks_max=6)) as server:
        for _ in range(6):
            await server.finished((await server.submit("ping"))["id"])
        await server.client.post("/v1/queues/default/pause")
        for _ in range(6):
            await server.submit("ping")
        answer = await server.client.post("/v1/jobs/ping", json={})
        assert (answer.status_code, answer.json()["code"]) == (503, "QueueFull")
        assert answer.headers["retry-after"] == str(answer.json()["retry_after"])


async def test_a_refused_body_gives_its_place_back(tmp_path: Path) -> None:
    async with serving(tmp_path, capacity=Capacity(tasks_max=1)) as server:
        for _ in range(5):
            assert (await server.client.post("/v1/jobs/add", json={})).status_code == 422
        await server.submit("add", {"a": 1})


async def test_too_many_bytes_are_refused_by_what_is_announced(tmp_path: Path) -> None:
    async with serving(tmp_path, capacity=Capacity(bytes_max=1000)) as server:
        answer = await server.client.post("/v1/jobs/copy", content=b"x" * 1001)
        assert (answer.status_code, answer.json()["code"]) == (503, "QueueFull")


async def test_a_full_disk_is_507(tmp_path: Path) -> None:
    async with serving(tmp_path, disk_free_min_bytes=1 << 60) as server:
        for answer in (
            await server.client.post("/v1/jobs/ping", json={}),
            await server.client.post("/v1/tasks", json={"job": "ping"}),
            await server.client.post("/v1/files", content=b"x"),
        ):
            assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (507, "DiskFull", "10")
        ready = await server.client.get("/readyz")
        assert (ready.status_code, ready.json()["code"], ready.json()["checks"]["disk"]) == (503, "NotReady", "full")


async def test_a_stopped_node_refuses_and_is_not_ready(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.engine.stop(0)
        answer = await server.client.post("/v1/jobs/ping", json={})
        assert (answer.status_code, answer.json()["code"]) == (503, "Stopping")
        assert (await server.client.get("/readyz")).status_code == 503
        assert (await server.client.get("/healthz")).status_code == 200


class Broken(MemoryStore):
    """A store that refuses to add, as `error` says."""

    error: Exception = RuntimeError("secret detail of the inside")

    async def add(self, new: Sequence[NewTask]) -> list[Added]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"), [(StoreUnavailable("the disk does not answer", 3), 503), (DiskFull("no room", 7), 507)]
)
async def test_a_store_that_cannot_write_leaves_no_upload_behind(
    tmp_path: Path, error: OffloadError, status: int
) -> None:
    broken = Broken()
    broken.error = error
    async with serving(tmp_path, wrap_store=lambda memory: broken) as server:
        answer = await server.client.post("/v1/jobs/copy", files={"image": ("a.png", b"meow", "image/png")})
        assert (answer.status_code, answer.json()["code"]) == (status, error.code)
        assert answer.headers["retry-after"] == str(answer.json()["retry_after"])
        assert server.blobs() == []


async def test_a_fault_of_our_own_is_logged_and_shows_nothing_of_the_inside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, wrap_store=lambda memory: Broken()) as server:
        with caplog.at_level(logging.ERROR):
            answer = await server.client.post("/v1/jobs/ping", json={}, headers={"offload-request-id": "find-me"})
        assert (answer.status_code, answer.json()["code"]) == (500, "InternalError")
        assert "secret" not in answer.text and "Traceback" not in answer.text
        (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert vars(told)["request"] == "find-me" and "secret detail" in caplog.text


async def test_a_get_with_a_large_body_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert (await server.client.request("GET", "/healthz", content=b"x" * 100)).status_code == 200
        assert (await server.client.request("GET", "/healthz", content=b"x" * 100_000)).status_code == 413
