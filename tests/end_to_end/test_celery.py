"""An existing Celery application behind offload: real workers, on real Redis and real RabbitMQ, and what they lose."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.backends.celery import CeleryWorker
from tests.backends.rabbitmq import RabbitServer
from tests.backends.redis import RedisServer
from tests.backends.waiting import wait_until
from tests.servers import Server

APP = "tests.end_to_end.celery_app"
JOB = "tests-end_to_end-celery_app-"
DEEP = os.environ.get("CELERY_DEEP")
FAST = ("--celery-lost-seconds", "5", "--lease-seconds", "3", "--heartbeat-seconds", "0.5", "--sweep-seconds", "0.2")


@dataclass
class Shop:
    """A server over a Celery application, and everything that application needs."""

    folder: Path
    env: dict[str, str]
    broker: RedisServer | RabbitServer
    stack: ExitStack
    server: Server
    worker: CeleryWorker

    def submit(self, job: str, wait: float = 0, **input: Any) -> httpx2.Response:
        headers = {"prefer": f"wait={wait}"} if wait else {}
        return httpx2.post(f"{self.server.url}/v1/jobs/{JOB}{job}", json=input, headers=headers, timeout=90)

    def begun(self, job: str, **input: Any) -> str:
        """Submit; return the id once the task runs."""
        task_id: str = self.submit(job, **input).json()["id"]
        self.until(lambda: self.task(task_id)["status"] == "RUNNING", "the task to run")
        return task_id

    def task(self, task_id: str, wait: float = 0) -> dict[str, Any]:
        query = {"wait": wait} if wait else {}
        found: dict[str, Any] = httpx2.get(f"{self.server.url}/v1/tasks/{task_id}", params=query, timeout=90).json()
        return found

    def until(self, condition: Any, what: str, seconds: float = 60.0) -> None:
        wait_until(condition, seconds=seconds, what=what)

    def runs(self, trace: Path) -> int:
        return len(trace.read_text().split()) if trace.exists() else 0


def shop(
    folder: Path, broker: RedisServer | RabbitServer, result: str, stack: ExitStack, *flags: str, **more: str
) -> Shop:
    env = {"BROKER_URL": broker.url, "RESULT_URL": result, **more}
    worker = stack.enter_context(CeleryWorker(APP, folder, env, "-Q", "celery,mails"))
    server = stack.enter_context(Server("", folder / "data", "--celery", APP, *FAST, *flags, env=env))
    return Shop(folder=folder, env=env, broker=broker, stack=stack, server=server, worker=worker)


@pytest.fixture(scope="module")
def one_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder / "redis"))
        yield shop(folder, redis, redis.url.removesuffix("/0") + "/1", stack)


@pytest.fixture
def on_redis(one_shop: Shop) -> Iterator[Shop]:
    """Return the shop that all tests share; each leaves it as it was, whatever happens in it."""
    yield one_shop
    assert isinstance(one_shop.broker, RedisServer)
    one_shop.broker.resume()
    for each in (one_shop.worker, one_shop.server):
        if each.process is None or each.process.poll() is not None:
            each.start()


@pytest.mark.deadline(240)
def test_the_tasks_of_an_application_are_jobs_with_everything_that_jobs_have(on_redis: Shop, tmp_path: Path) -> None:
    shop = on_redis
    url = shop.server.url
    jobs = {job["name"].removeprefix(JOB): job for job in httpx2.get(f"{url}/v1/jobs").json()["jobs"]}
    assert {"add", "mail", "refuse", "steps"} <= jobs.keys() and jobs["mail"]["queue"] == "mails"
    assert (
        jobs["add"]["input"]["properties"]["a"] == {"type": "integer"}
        and "Add two numbers." in jobs["add"]["description"]
    )

    assert shop.submit("add", 30, a=20, b=22).json() == 42
    assert shop.submit("add", 30, a="41").json() == 42, "what fits the schema comes as what it is"
    assert shop.submit("add", a="many").json()["code"] == "WrongInput"
    sent = shop.submit("mail", 30, to="anna", lines=["hello", "you"], subject="news").json()
    assert sent == {"to": "anna", "lines": ["hello", "you"], "headers": {"subject": "news"}}
    big = shop.submit("large", 30, size=300_000)
    assert big.status_code == 200 and big.json() == "x" * 300_000

    failed = shop.submit("refuse", 30, why="no such thing").json()
    assert (failed["code"], failed["reason"], failed["error"]["type"]) == ("TaskFailed", "error", "ValueError")
    assert failed["error"]["message"] == "no such thing" and "raise ValueError(why)" in failed["error"]["traceback"]
    trace = tmp_path / "stubborn"
    assert shop.submit("stubborn", 40, trace=str(trace)).json() == 2 and shop.runs(trace) == 3
    late = shop.submit("endless", 40).json()
    assert (late["code"], late["reason"]) == ("TaskFailed", "timeout")

    task_id = shop.begun("steps", count=40, seconds=0.1)
    shop.until(lambda: (shop.task(task_id)["progress"] or {}).get("fraction"), "progress")
    progress = shop.task(task_id)["progress"]
    assert 0 < progress["fraction"] < 1 and progress["message"].startswith("step ")
    assert shop.task(task_id, 40)["result"] == "arrived"


@pytest.mark.deadline(240)
def test_a_canceled_task_is_revoked_in_the_broker_and_stopped_in_its_worker(on_redis: Shop, tmp_path: Path) -> None:
    shop = on_redis
    traces = [tmp_path / f"trace{n}" for n in range(5)]
    ids = [shop.submit("sleep_once", trace=str(trace), seconds=60).json()["id"] for trace in traces]
    shop.until(lambda: sum(map(shop.runs, traces)) == 2, "both places to be taken")
    begun = [shop.runs(trace) == 1 for trace in traces]
    for these in (False, True):  # those that wait first, so that none of them gets a place meanwhile
        mine = [task_id for task_id, has_begun in zip(ids, begun, strict=True) if has_begun is these]
        for task_id in mine:
            assert httpx2.post(f"{shop.server.url}/v1/tasks/{task_id}/cancel").status_code in (200, 202)
        for task_id in mine:
            found = shop.task(task_id, 40)
            assert (found["status"], found["reason"]) == ("CANCELED", "canceled")
    assert shop.submit("add", 40, a=1, b=1).json() == 2, "the places are free again"
    assert sum(map(shop.runs, traces)) == 2, "what had not begun never does"


@pytest.mark.deadline(240)
def test_what_a_worker_takes_with_it_ends_with_a_reason(on_redis: Shop, tmp_path: Path) -> None:
    shop = on_redis
    once, surely, gate = tmp_path / "once", tmp_path / "surely", tmp_path / "gate"
    first = shop.begun("sleep_once", trace=str(once), seconds=600)
    second = shop.begun("hold_surely", trace=str(surely), gate=str(gate))
    shop.until(lambda: shop.runs(once) == shop.runs(surely) == 1, "both to begin")
    shop.worker.kill()
    gate.touch()
    shop.worker.start()
    lost = shop.task(first, 60)
    assert (lost["status"], lost["reason"], lost["error"]["type"]) == ("FAILED", "worker_lost", "CeleryTaskLost")
    assert shop.runs(once) == 1, "Celery runs it at most once, and so do we"
    assert shop.task(second, 60)["status"] == "DONE" and shop.runs(surely) == 2


@pytest.mark.deadline(240)
def test_what_nobody_can_tell_the_end_of_ends_all_the_same(on_redis: Shop, tmp_path: Path) -> None:
    shop = on_redis
    assert isinstance(shop.broker, RedisServer)
    once, surely, gate = tmp_path / "once", tmp_path / "surely", tmp_path / "gate"
    ids = [shop.begun(f"hold_{name}", trace=str(tmp_path / name), gate=str(gate)) for name in ("once", "surely")]
    shop.until(lambda: shop.runs(once) == shop.runs(surely) == 1, "both to begin")
    shop.server.pause()
    gate.touch()
    shop.until(lambda: all(f"[{task_id}] succeeded in " in shop.worker.log() for task_id in ids), "both to end")
    shop.broker.say("FLUSHALL")  # their results go before anybody has read them, and the worker's queues as well
    shop.server.resume()
    shrugged = shop.submit("shrug").json()["id"]
    lost = shop.task(ids[0], 60)
    assert (lost["status"], lost["reason"], lost["error"]["type"]) == ("FAILED", "worker_lost", "CeleryTaskLost")
    assert "there is no result" in lost["error"]["message"] and shop.runs(once) == 1
    assert shop.task(ids[1], 60)["status"] == "DONE" and shop.runs(surely) == 2, "Celery too would run it again"
    ignored = shop.task(shrugged, 60)
    assert (ignored["status"], ignored["reason"]) == ("FAILED", "worker_lost"), "an Ignore leaves no result"
    assert shop.submit("add", 40, a=40, b=2).json() == 42


@pytest.mark.deadline(240)
def test_tasks_wait_here_while_the_broker_is_away(on_redis: Shop, tmp_path: Path) -> None:
    shop = on_redis
    assert isinstance(shop.broker, RedisServer)
    shop.broker.pause()
    ids = [shop.submit("add", a=n, b=1).json()["id"] for n in range(5)]
    shop.until(lambda: "is away" in shop.server.log(), "the silence to be noticed")
    assert {shop.task(task_id)["status"] for task_id in ids} <= {"QUEUED", "RUNNING"}
    shop.broker.resume()
    assert [shop.task(task_id, 60)["result"] for task_id in ids] == [1, 2, 3, 4, 5]


@pytest.mark.deadline(240)
def test_a_server_that_is_killed_or_stopped_hears_how_its_tasks_end(on_redis: Shop, tmp_path: Path) -> None:
    shop = on_redis
    for how in ("kill", "stop"):
        trace = tmp_path / how
        task_id = shop.begun("sleep_once", trace=str(trace), seconds=3)
        shop.until(partial(trace.exists), "it to begin")
        if how == "kill":
            shop.server.kill()
        else:
            shop.server.terminate()
        shop.server.start()
        found = shop.task(task_id, 60)
        assert (found["status"], found["result"], shop.runs(trace)) == ("DONE", "rested", 1), found


@pytest.mark.deadline(300)
@pytest.mark.parametrize("results", ["rpc", "redis"] if DEEP else ["rpc"])
def test_rabbitmq_carries_the_messages_as_well(tmp_path: Path, results: str) -> None:
    with ExitStack() as stack:
        rabbit = stack.enter_context(RabbitServer(tmp_path / "rabbit"))
        redis = stack.enter_context(RedisServer(tmp_path / "redis")) if results == "redis" else None
        it = shop(tmp_path, rabbit, "rpc://" if redis is None else redis.url, stack)
        assert it.submit("add", 40, a=20, b=22).json() == 42
        assert it.submit("refuse", 40, why="no").json()["error"]["message"] == "no"
        trace = tmp_path / "trace"
        gone = it.begun("sleep_once", trace=str(trace), seconds=60)
        it.until(lambda: it.runs(trace) == 1, "it to begin")
        httpx2.post(f"{it.server.url}/v1/tasks/{gone}/cancel")
        assert it.task(gone, 40)["status"] == "CANCELED"
        surely, gate = tmp_path / "surely", tmp_path / "gate"
        kept = it.begun("hold_surely", trace=str(surely), gate=str(gate))
        it.until(lambda: it.runs(surely) == 1, "it to begin")
        it.worker.kill()
        gate.touch()
        it.worker.start()
        assert it.task(kept, 60)["status"] == "DONE", "RabbitMQ delivers it again, and we wait for that"
