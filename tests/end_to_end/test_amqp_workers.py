"""Workers that speak AMQP: the story of an uploaded picture, and what must never happen to a message."""

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pika
import pytest
from PIL import Image, ImageDraw

from tests.backends.free_port import free_port
from tests.backends.rabbitmq import RabbitServer
from tests.servers import Server

WORKERS = Path(__file__).resolve().parents[2] / "examples" / "workers"
FAST = ("--sweep-seconds", "1", "--lease-seconds", "2", "--heartbeat-seconds", "0.5")
PATIENCE_SECONDS = 90.0


class Story:
    """A server that posts its external tasks to RabbitMQ, below a prefix of its own."""

    def __init__(self, rabbit: RabbitServer, server: Server, prefix: str) -> None:
        self.rabbit = rabbit
        self.server = server
        self.prefix = prefix
        self.queue = f"{prefix}.work.vision.detect"
        self.http = httpx2.Client(base_url=server.url, timeout=60)

    def submit(self, **wanted: Any) -> dict[str, Any]:
        answer = self.http.post(
            "/v1/jobs/detect", params=wanted, content=picture(), headers={"Content-Type": "image/png"}
        )
        assert answer.status_code == 202, answer.text
        task: dict[str, Any] = answer.json()
        return task

    def task(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/tasks/{task_id}").json()
        return found

    def ended(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def final() -> bool:
            found.update(self.http.get(f"/v1/tasks/{task_id}", params={"wait": 10}).json())
            return found["status"] in ("DONE", "FAILED", "CANCELED")

        until(final, f"task {task_id} to end")
        return found

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.rabbit.url))
        try:
            yield connection.channel()
        finally:
            with contextlib.suppress(pika.exceptions.AMQPError):
                connection.close()

    def waiting(self) -> int:
        """Return how many messages wait; none when there is no queue or no broker."""
        try:
            with self.channel() as channel:
                return int(channel.queue_declare(self.queue, passive=True).method.message_count)
        except pika.exceptions.AMQPError:
            return 0

    def message(self, attempt: int = 1) -> dict[str, Any]:
        """Take the message of an attempt and acknowledge it."""
        while (found := self.taken()[1])["attempt"] < attempt:
            pass  # acknowledged, not begun in time, and so taken for lost and posted again
        return found

    def taken(self) -> tuple[Any, dict[str, Any]]:
        """Take one message with its properties and acknowledge it."""
        until(self.waiting, "a message")
        with self.channel() as channel:
            found: list[Any] = []

            def came() -> bool:
                found[:] = channel.basic_get(self.queue, auto_ack=True)
                return found[0] is not None

            until(came, "a message")
            return found[1], json.loads(found[2])

    @contextlib.contextmanager
    def worker(self, log: Path, url: str | None = None) -> Iterator["subprocess.Popen[str]"]:
        environ = {**os.environ, "AMQP_URL": url or self.rabbit.url, "QUEUE": self.queue}
        with log.open("w") as out:
            worker = subprocess.Popen(
                [sys.executable, str(WORKERS / "amqp_worker.py")], env=environ, stdout=out, stderr=out, text=True
            )
        try:
            yield worker
        finally:
            worker.terminate()
            worker.wait(30)


def take(channel: Any, queue: str, *, acknowledge: bool = True) -> tuple[int, dict[str, Any]]:
    found: list[tuple[int, dict[str, Any]]] = []

    def came() -> bool:
        method, _, body = channel.basic_get(queue)
        if method is not None:
            found.append((method.delivery_tag, json.loads(body)))
        return bool(found)

    until(came, "a message")
    if acknowledge:
        channel.basic_ack(found[0][0])
    return found[0]


def until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        pause.wait(0.05)


def picture() -> bytes:
    image = Image.new("RGB", (100, 80), "white")
    ImageDraw.Draw(image).rectangle((20, 10, 59, 49), fill="black")
    held = io.BytesIO()
    image.save(held, "PNG")
    return held.getvalue()


@contextlib.contextmanager
def telling(rabbit: RabbitServer, folder: Path, *more: str, env: Mapping[str, str] | None = None) -> Iterator[Story]:
    prefix, port = f"t{uuid4().hex[:12]}", free_port()
    flags = ["--amqp-workers", f"{rabbit.url}?prefix={prefix}", "--public-url", f"http://127.0.0.1:{port}"]
    flags += ["--port", str(port)]
    with Server(WORKERS / "amqp_jobs.py", folder / "data", *flags, *FAST, *more, env=dict(env or {})) as server:
        story = Story(rabbit, server, prefix)
        try:
            yield story
        finally:
            story.http.close()


@pytest.fixture
def story(rabbitmq_server: RabbitServer, tmp_path: Path) -> Iterator[Story]:
    with telling(rabbitmq_server, tmp_path) as made:
        yield made


@pytest.mark.long
@pytest.mark.story
def test_a_picture_is_uploaded_detected_elsewhere_and_its_result_read(story: Story, tmp_path: Path) -> None:
    task = story.submit()
    with story.worker(tmp_path / "worker.log"):
        done = story.ended(task["id"])
        assert done["status"] == "DONE", (done, (tmp_path / "worker.log").read_text(), story.server.log())
        found = story.http.get(done["result_url"] if "result_url" in done else f"/v1/tasks/{task['id']}/result").json()
        assert found == [{"box": [20, 10, 60, 50], "share": 0.2}]
        many = [story.submit()["id"] for _ in range(5)]
        assert [story.ended(each)["status"] for each in many] == ["DONE"] * 5


def test_a_message_says_all_that_a_worker_needs_and_no_key_is_asked_for(story: Story) -> None:
    task = story.submit(seconds=0.25)
    properties, message = story.taken()
    assert (message["task"], message["job"], message["attempt"]) == (task["id"], "detect", 1)
    assert "traceparent" not in message and "traceparent" not in (properties.headers or {}), "there is no trace"
    assert message["input"]["seconds"] == 0.25 and message["input"]["image"]["type"] == "image/png"
    assert story.task(task["id"])["status"] == "QUEUED"  # nobody has begun it yet
    assert httpx2.get(message["downloadFrom"]["image"]).content == picture()
    assert story.task(task["id"])["status"] == "RUNNING"
    said = httpx2.put(message["uploadTo"], json=[{"box": [1, 2, 3, 4], "share": 0.5}])
    assert said.json() == {"task": task["id"], "status": "DONE"}
    assert httpx2.put(message["uploadTo"], json=[]).json()["status"] == "DONE"  # said again, nothing changes
    assert story.http.get(f"/v1/tasks/{task['id']}/result").json() == [{"box": [1, 2, 3, 4], "share": 0.5}]


def test_nobody_brings_a_result_without_the_link_of_that_attempt(story: Story) -> None:
    both = story.submit(), story.submit()
    message = story.message()
    mine, other = sorted(both, key=lambda task: task["id"] != message["task"])
    link = message["uploadTo"]
    start, _, rest = link.partition("/v1/leases/")
    signed, _, tail = rest.partition("/")
    forged = [
        f"{start}/v1/leases/{signed[:-1]}{'A' if signed[-1] != 'A' else 'B'}/{tail}",
        f"{start}/v1/leases/{signed.replace(mine['id'], other['id'])}/{tail}",
        f"{start}/v1/leases/{message['lease']}/{tail}",
        message["downloadFrom"]["image"].replace("/input/image", "/result?done=true"),
    ]
    for url in forged:
        assert httpx2.put(url, json=[]).status_code in (401, 404), url
    assert {story.task(each["id"])["status"] for each in (mine, other)} == {"QUEUED"}
    assert httpx2.put(link, json=[{"box": "no", "share": 1}]).status_code == 422
    assert story.task(mine["id"])["status"] == "RUNNING"  # a result that is none is no end


def test_messages_outlive_the_broker_and_are_posted_again_when_they_are_lost(tmp_path: Path) -> None:
    with RabbitServer(tmp_path / "rabbit") as rabbit, telling(rabbit, tmp_path) as story:
        tasks = [story.submit()["id"] for _ in range(5)]
        until(lambda: story.waiting() >= 5, "the messages")
        rabbit.kill()
        tasks.append(story.submit()["id"])  # accepted while there is no broker
        rabbit.start()
        # a quorum queue that was killed young may stay without a leader: then it is made anew, which takes a while
        until(lambda: story.waiting() >= 6, "the messages, after the broker was killed", seconds=200)
        with story.channel() as channel:
            channel.queue_delete(story.queue)  # now they are lost indeed
        with story.worker(tmp_path / "worker.log"):
            assert {story.ended(each)["status"] for each in tasks} == {"DONE"}


def test_a_message_that_kills_its_workers_ends_as_poison(story: Story) -> None:
    task = story.submit()
    deliveries = 0
    until(story.waiting, "the message")
    with story.channel() as channel:

        def dead() -> bool:
            nonlocal deliveries
            method, _, _ = channel.basic_get(story.queue)
            if method is not None:
                deliveries += 1
                channel.basic_nack(method.delivery_tag, requeue=True)  # what a worker's death does
            return bool(story.task(task["id"])["status"] == "FAILED")

        until(dead, "the task to be given up")
    found = story.task(task["id"])
    assert found["reason"] == "poison" and deliveries <= 3 * 6 + 3, (found, deliveries)


def test_a_rejected_message_is_a_failed_attempt(story: Story) -> None:
    task = story.submit()
    until(story.waiting, "the message")
    with story.channel() as channel:
        for attempt in (1, 2, 3):
            tag, message = take(channel, story.queue, acknowledge=False)
            assert message["attempt"] == attempt
            channel.basic_reject(tag, requeue=False)
        found = story.ended(task["id"])
    assert (found["status"], found["reason"], found["error"]["type"]) == ("FAILED", "error", "MessageRejected")


def test_a_failed_download_ends_one_task_and_not_the_worker(story: Story, tmp_path: Path) -> None:
    gone, broken, good = story.submit(), story.submit(), story.submit()
    until(lambda: story.waiting() >= 3, "the messages")
    story.http.delete(f"/v1/tasks/{gone['id']}")
    with story.channel() as channel:  # one whose download leads nowhere, and one that is no message
        channel.basic_publish("", story.queue, b"not json")
        _, message = take(channel, story.queue)
        del broken
        nowhere = {**message, "downloadFrom": {"image": message["downloadFrom"]["image"] + "s"}}
        channel.basic_publish("", story.queue, json.dumps(nowhere).encode())
    with story.worker(tmp_path / "worker.log") as worker:
        assert story.ended(good["id"])["status"] == "DONE"
        until(lambda: len((tmp_path / "worker.log").read_text().split("took")) >= 5, "all messages to be taken")
        assert worker.poll() is None


def test_long_work_starves_no_heartbeat(story: Story, tmp_path: Path) -> None:
    task = story.submit(seconds=7)
    with story.worker(tmp_path / "worker.log", f"{story.rabbit.url}?heartbeat=2"):  # given up after 4 s of silence
        assert story.ended(task["id"])["status"] == "DONE"
        until(lambda: "ack" in (tmp_path / "worker.log").read_text(), "the acknowledgement")
    said = (tmp_path / "worker.log").read_text()
    took = said.partition("took")[2]  # before that it may have come earlier than its queue
    assert said.count("took") == 1 and "no connection" not in took


def test_an_upload_that_failed_is_no_success_even_if_it_was_acknowledged(story: Story) -> None:
    task = story.submit()
    message = story.message()  # acknowledged already
    half = httpx2.put(message["uploadTo"], content=b"[", headers={"Content-Type": "application/json"})
    assert half.status_code in (400, 422)
    found = story.task(task["id"])
    assert found["status"] == "RUNNING"
    # the worker says nothing more; here its job's 120 s are cut short by a failure that it could have told
    failed = httpx2.post(message["failedTo"], json={"error": "the upload did not come through"})
    assert failed.json()["status"] == "QUEUED"
    again = story.message(attempt=2)
    assert again["attempt"] == 2
    assert httpx2.put(message["uploadTo"], json=[]).status_code == 409  # the first attempt has nothing to say any more
    assert httpx2.put(again["uploadTo"], json=[]).json()["status"] == "DONE"
