"""What Celery, its broker and its results lose, case by case; too long for every run: `make faults`."""

from contextlib import ExitStack
from pathlib import Path

import httpx2
import pika
import pytest

from tests.backends.rabbitmq import RabbitServer
from tests.backends.redis import RedisServer
from tests.end_to_end.test_celery import Shop, on_redis, one_shop, shop

__all__ = ["on_redis", "one_shop"]  # fixtures


@pytest.mark.deadline(240)
def test_what_is_gone_from_broker_and_results_does_not_run_for_ever(on_redis: Shop, tmp_path: Path) -> None:
    shop = on_redis
    assert isinstance(shop.broker, RedisServer)
    trace = tmp_path / "trace"
    shop.worker.kill()
    task_id = shop.begun("sleep_once", trace=str(trace), seconds=0)  # its workers were there a moment ago
    redis = shop.broker
    shop.until(lambda: redis.say("LLEN", "celery") == b":1\r\n", "its message")
    redis.say("FLUSHALL")
    shop.worker.start()
    lost = shop.task(task_id, 60)
    assert (lost["status"], lost["reason"]) == ("FAILED", "worker_lost") and shop.runs(trace) == 0
    assert "lost it" in lost["error"]["message"]


@pytest.mark.deadline(240)
def test_what_workers_have_outlives_a_flush_of_everything(on_redis: Shop, tmp_path: Path) -> None:
    shop = on_redis
    assert isinstance(shop.broker, RedisServer)
    traces = [tmp_path / name for name in ("once", "surely", "waits")]
    jobs = ("sleep_once", "sleep_surely", "sleep_once")
    ids = [shop.begun(name, trace=str(trace), seconds=2) for name, trace in zip(jobs, traces, strict=True)]
    shop.until(lambda: shop.runs(traces[0]) == shop.runs(traces[1]) == 1, "two to begin")
    shop.broker.say("FLUSHALL")
    assert [shop.task(task_id, 60)["status"] for task_id in ids] == ["DONE"] * 3
    assert [shop.runs(trace) for trace in traces] == [1, 1, 1]


@pytest.mark.deadline(300)
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_messages_that_the_broker_forgets_are_told_as_lost_or_sent_again(tmp_path: Path, kind: str) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        rabbit = stack.enter_context(RabbitServer(tmp_path / "rabbit")) if kind == "rabbitmq" else None
        results = redis.url.removesuffix("/0") + "/1"
        it = shop(tmp_path, rabbit or redis, results, stack, "--celery-at-once-max", "10")
        long = [it.begun("sleep_once", trace=str(tmp_path / f"long{n}"), seconds=4) for n in range(2)]
        it.until(lambda: sum(it.runs(tmp_path / f"long{n}") for n in range(2)) == 2, "both places to be taken")
        once = [it.begun("sleep_once", trace=str(tmp_path / f"once{n}"), seconds=0) for n in range(4)]
        surely = [it.begun("sleep_surely", trace=str(tmp_path / f"surely{n}"), seconds=0) for n in range(4)]
        forget(rabbit or redis)
        assert [it.task(task_id, 80)["status"] for task_id in long] == ["DONE"] * 2, "workers have those"
        ends = [it.task(task_id, 80) for task_id in once]
        assert {(end["status"], end["reason"]) for end in ends} <= {("DONE", None), ("FAILED", "worker_lost")}, ends
        assert any("lost it" in end["error"]["message"] for end in ends if end["status"] == "FAILED")
        assert [it.task(task_id, 80)["status"] for task_id in surely] == ["DONE"] * 4
        assert all(it.runs(tmp_path / f"{name}{n}") <= 1 for n in range(4) for name in ("once", "surely"))
        assert it.submit("add", 40, a=1, b=1).json() == 2


def forget(broker: RedisServer | RabbitServer) -> None:
    """Take what waits in the queue of Celery out of the broker."""
    if isinstance(broker, RedisServer):
        broker.say("DEL", "celery")
        return
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        connection.channel().queue_purge("celery")


@pytest.mark.deadline(300)
@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_result_that_expired_before_it_was_read_is_no_eternal_wait(tmp_path: Path, how: str) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        results = redis.url.removesuffix("/0") + "/1"
        it = shop(tmp_path, redis, results, stack, RESULT_SECONDS="1")
        trace = tmp_path / "trace"
        task_id = it.begun("sleep_once", trace=str(trace), seconds=2)
        it.until(lambda: it.runs(trace) == 1, "it to begin")
        it.server.kill() if how == "kill" else it.server.pause()
        it.until(lambda: " succeeded in " in it.worker.log(), "it to end")
        it.until(lambda: b"db1" not in redis.say("INFO", "keyspace"), "its result to expire")
        it.server.start() if how == "kill" else it.server.resume()
        found = it.task(task_id, 80)
        if how == "kill":  # nothing tells any more that it was ever sent
            assert (found["status"], it.runs(trace)) == ("DONE", 2), found
        else:
            assert (found["status"], found["reason"], it.runs(trace)) == ("FAILED", "worker_lost", 1), found


@pytest.mark.deadline(240)
def test_what_a_dead_worker_had_is_lost_though_others_wait_in_its_queue(tmp_path: Path) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        it = shop(tmp_path, redis, redis.url.removesuffix("/0") + "/1", stack, "--celery-at-once-max", "10")
        trace = tmp_path / "trace"
        first = it.begun("sleep_once", trace=str(trace), seconds=600)
        it.until(lambda: first in held(it), "the server to see who has it")
        it.worker.kill()
        others = [it.begun("sleep_once", trace=str(tmp_path / f"other{n}"), seconds=600) for n in range(5)]
        it.worker.start()
        lost = it.task(first, 60)
        assert (lost["status"], lost["reason"], it.runs(trace)) == ("FAILED", "worker_lost", 1), lost
        assert {it.task(task_id)["status"] for task_id in others} == {"RUNNING"}, "they have their turn still"


def held(it: Shop) -> list[str]:
    """Return the tasks that Celery's workers have, as far as the server knows."""
    seen = httpx2.get(f"{it.server.url}/v1/overview").json()["workers"]
    return [task for worker in seen for task in worker["tasks"]]


@pytest.mark.deadline(240)
def test_a_worker_that_says_nothing_for_a_moment_has_lost_nothing(on_redis: Shop, tmp_path: Path) -> None:
    shop = on_redis
    trace = tmp_path / "trace"
    task_id = shop.begun("sleep_once", trace=str(trace), seconds=12)
    shop.until(lambda: shop.runs(trace) == 1, "it to begin")
    shop.worker.pause()
    try:
        waited = shop.submit("add", 6, a=1, b=1)  # meanwhile it is looked for once or twice
    finally:
        shop.worker.resume()
    assert waited.status_code == 202
    found = shop.task(task_id, 60)
    assert (found["status"], found["result"], shop.runs(trace)) == ("DONE", "rested", 1), found


@pytest.mark.deadline(240)
def test_a_server_that_is_killed_sends_nothing_twice(on_redis: Shop, tmp_path: Path) -> None:
    shop = on_redis
    traces = [tmp_path / f"trace{n}" for n in range(3)]
    ids = [shop.begun("sleep_once", trace=str(trace), seconds=12) for trace in traces]
    shop.until(lambda: sum(map(shop.runs, traces)) == 2, "two to begin, and one to wait in the broker")
    shop.server.kill()
    shop.server.start()  # its leases are over long before they end
    assert [shop.task(task_id, 80)["status"] for task_id in ids] == ["DONE"] * 3
    assert [shop.runs(trace) for trace in traces] == [1, 1, 1]
