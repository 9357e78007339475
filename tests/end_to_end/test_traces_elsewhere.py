"""One trace from the request through a worker elsewhere to the callback, whichever way the worker gets its task."""

from pathlib import Path
from typing import Any

import httpx2

from offload.testing import Receiver
from tests.backends.otlp import Collector
from tests.backends.rabbitmq import RabbitServer
from tests.end_to_end.test_amqp_workers import WORKERS, picture, telling
from tests.end_to_end.test_callbacks import received
from tests.end_to_end.test_traces import SOON
from tests.servers import Server
from tests.unit.test_trace import GOOD, SPAN, TRACE

NAMES = ("POST /v1/jobs/{job}", "wait", "run detect", "callback task.done")


def submit(http: httpx2.Client, receiver: Receiver, **fields: str) -> None:
    receiver.secret = http.get("/v1/callbacks/secret").json()["secret"]
    about = {"Content-Type": "image/png", "Offload-Callback": f"{receiver.url}hook", **fields}
    assert http.post("/v1/jobs/detect", content=picture(), headers=about).status_code == 202


def check(collector: Collector, given: str, told: str) -> None:
    """Look at the spans, at what the worker was given and at what the receiver was told."""
    spans = collector.until(*NAMES)
    request, wait, run, callback = (spans[name] for name in NAMES)
    assert {span["trace"] for span in (request, wait, run, callback)} == {TRACE}
    assert request["parent"] == SPAN
    assert wait["parent"] == run["parent"] == callback["parent"] == request["id"]
    assert given == f"00-{TRACE}-{request['id']}-01"
    assert told == f"00-{TRACE}-{callback['id']}-01"
    assert [span["name"] for span in collector.spans].count("run detect") == 1


def test_a_message_belongs_to_the_trace_of_its_request(rabbitmq_server: RabbitServer, tmp_path: Path) -> None:
    with Collector() as collector, Receiver() as receiver:
        flags = ("--trace-to", collector.url)
        with telling(rabbitmq_server, tmp_path, *flags, env=SOON) as story:
            submit(story.http, receiver, Traceparent=GOOD)
            properties, message = story.taken()
            httpx2.put(message["uploadTo"], json=[]).raise_for_status()
            told = received(receiver)[0].headers["traceparent"]
            assert properties.headers["traceparent"] == message["traceparent"]
            check(collector, message["traceparent"], told)


def test_a_lease_belongs_to_the_trace_of_its_request(tmp_path: Path) -> None:
    with Collector() as collector, Receiver() as receiver:
        flags = ("--trace-to", collector.url)
        with (
            Server(WORKERS / "amqp_jobs.py", tmp_path / "data", *flags, env=SOON) as server,
            httpx2.Client(base_url=server.url, timeout=60) as http,
        ):
            submit(http, receiver, Traceparent=GOOD)
            lent: dict[str, Any] = http.post("/v1/leases", json={"wait": 30}).json()[0]
            http.post(f"/v1/leases/{lent['lease']}/done", json=[]).raise_for_status()
            check(collector, lent["traceparent"], received(receiver)[0].headers["traceparent"])
