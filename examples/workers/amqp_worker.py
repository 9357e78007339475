"""A worker that gets its tasks from RabbitMQ: downloads, detects, uploads, and only then acknowledges.

AMQP_URL says where RabbitMQ is, QUEUE which queue to read. It needs pika and pillow, and nothing of offload.
SIGTERM: finish what runs, take no more.
"""

import io
import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from PIL import Image, ImageOps, UnidentifiedImageError

AMQP_URL = os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1/")
QUEUE = os.environ.get("QUEUE", "offload.work.vision.detect")
TRIES = 6
STOP = threading.Event()


class Lost(Exception):
    """The task is somebody else's by now, was canceled or has ended: drop it."""


class Refused(Exception):
    """The server will not take this, however often it is tried."""


def detect(data: bytes, seconds: float) -> list[dict[str, Any]]:
    """Do the work: the box around what is dark."""
    picture = ImageOps.invert(Image.open(io.BytesIO(data)).convert("L"))
    time.sleep(seconds)
    box = picture.point([0] * 128 + [255] * 128).getbbox()
    if box is None:
        return []
    area = (box[2] - box[0]) * (box[3] - box[1])
    return [{"box": box, "share": round(area / (picture.width * picture.height), 4)}]


def handle(body: bytes) -> str:
    """Work on one message and return what to do with it: ack, reject (it can never work) or requeue (try later)."""
    try:
        message = json.loads(body)
        wanted = message["input"]
    except (ValueError, KeyError, TypeError):
        return "reject"
    try:
        picture = ask("GET", message["downloadFrom"]["image"])
        found = detect(picture, wanted.get("seconds", 0))
        ask("PUT", message["uploadTo"], json.dumps(found).encode())
        return "ack"  # the server has said that the result is recorded; before that nothing is done
    except Lost:
        return "ack"
    except ConnectionError as error:  # no answer, or one that says later
        print("later", error, flush=True)
        return "requeue"
    except Exception as error:  # a picture that is none, a result that is refused: this attempt has failed
        said = {"type": type(error).__name__, "message": str(error)[:10_000]}
        again = not isinstance(error, (Refused, UnidentifiedImageError))
        try:
            ask("POST", message["failedTo"], json.dumps({"error": said, "retry": again}).encode())
        except Lost:
            pass
        except Exception as trouble:
            print("cannot even say that it failed:", trouble, flush=True)
            return "requeue"
        return "ack"


def ask(method: str, url: str, data: bytes | None = None) -> bytes:
    """Make a request, again while the server is not there or too busy. Raise Lost, Refused, OSError."""
    for tries in range(TRIES):
        request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                whole: bytes = answer.read()
                return whole
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode("utf-8", "replace")[:1000]
            if error.code in (404, 409, 410):
                raise Lost(said) from None
            if error.code < 500 and error.code not in (408, 429):
                raise Refused(f"{error.code}: {said}") from None
        except OSError:
            pass
        STOP.wait(random.uniform(0.05, min(10.0, 0.2 * 2**tries)))
    raise ConnectionError(f"{method} {url.split('?')[0][:60]}… got no answer in {TRIES} tries")


def consume() -> None:
    """Read messages until the connection breaks or SIGTERM comes; the work runs beside, so heartbeats go on."""
    connection = pika.BlockingConnection(pika.URLParameters(AMQP_URL))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=1)  # a message that waits here is one that another worker could have
    with ThreadPoolExecutor(max_workers=1) as workers:

        def came(channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
            print("took", properties.message_id, flush=True)
            work = workers.submit(handle, body)
            work.add_done_callback(
                lambda done: connection.add_callback_threadsafe(lambda: settle(channel, method.delivery_tag, done))
            )
            running.add(work)

        running: set[Future[str]] = set()
        tag = channel.basic_consume(QUEUE, came)
        print("ready", flush=True)
        while not STOP.is_set() or any(not work.done() for work in running):
            if STOP.is_set() and tag:
                channel.basic_cancel(tag)
                tag = ""
            connection.process_data_events(time_limit=0.2)
            running = {work for work in running if not work.done()}
        connection.process_data_events(time_limit=0)
        connection.close()


def settle(channel: BlockingChannel, delivery_tag: int, done: "Future[str]") -> None:
    verdict = done.result()
    print(verdict, flush=True)
    if verdict == "ack":
        channel.basic_ack(delivery_tag)
    else:
        channel.basic_nack(delivery_tag, requeue=verdict == "requeue")


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: STOP.set())
    pause_seconds = 0.2
    while not STOP.is_set():
        try:
            consume()
        except (pika.exceptions.AMQPError, OSError) as error:  # it comes again: what was not acknowledged goes back
            print("no connection:", type(error).__name__, error, flush=True)
            STOP.wait(random.uniform(0, pause_seconds))
            pause_seconds = min(5.0, pause_seconds * 2)


if __name__ == "__main__":
    main()
