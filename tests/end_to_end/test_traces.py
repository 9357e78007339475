"""One trace from the request through the queue and the run to the callback, as a collector sees it."""

import json
from pathlib import Path

import httpx2
import pytest

from offload.testing import Receiver
from tests.backends.otlp import Collector
from tests.end_to_end.test_callbacks import ALLOW, received
from tests.servers import Server
from tests.unit.test_trace import GOOD, SPAN, TRACE

JOBS = Path(__file__).with_name("traced_jobs.py")
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100", **ALLOW}
SERVER, INTERNAL, CLIENT, CONSUMER = 2, 1, 3, 5


def test_a_trace_goes_from_the_request_to_the_callback(tmp_path: Path) -> None:
    with (
        Collector() as collector,
        Receiver() as receiver,
        Server(JOBS, tmp_path / "data", "--workers", "1", "--trace-to", collector.url, env=SOON) as server,
        httpx2.Client(base_url=server.url, timeout=60) as client,
    ):
        receiver.secret = client.get("/v1/callbacks/secret").json()["secret"]
        headers = {"Traceparent": GOOD, "Offload-Callback": f"{receiver.url}hook", "Prefer": "wait=30"}
        handed = client.post("/v1/jobs/trace", headers=headers).json()
        told = received(receiver)[0]
        spans = collector.until("POST /v1/jobs/{job}", "wait", "run trace", "callback task.done")
        request, wait, run, callback = (
            spans[name] for name in ("POST /v1/jobs/{job}", "wait", "run trace", "callback task.done")
        )
        assert {span["trace"] for span in spans.values()} == {TRACE}
        assert request["parent"] == SPAN
        assert wait["parent"] == run["parent"] == callback["parent"] == request["id"]
        assert [span["kind"] for span in (request, wait, run, callback)] == [SERVER, INTERNAL, CONSUMER, CLIENT]
        assert handed == f"00-{TRACE}-{run['id']}-01"
        assert told.headers["traceparent"] == f"00-{TRACE}-{callback['id']}-01"
        assert request["about"]["http.response.status_code"] == 200
        task_ids = {span["about"]["offload.task.id"] for span in (wait, run, callback)}
        assert len(task_ids) == 1 and request["seconds"] >= run["seconds"] > 0
        assert collector.resources[0]["service.name"] == "offload"
        client.get("/v1/tasks")
        client.get("/v1/tasks", headers={"traceparent": GOOD})
        collector.until("GET /v1/tasks")
        assert sum(span["name"] == "GET /v1/tasks" for span in collector.spans) == 1, "only what is traced already"


def test_what_was_not_sent_yet_is_sent_at_the_end_and_names_no_input(tmp_path: Path) -> None:
    with Collector() as collector:
        flags = ("--workers", "1", "--log-format", "json", "--trace-to", collector.url)
        with Server(JOBS, tmp_path / "data", *flags, env={"OTEL_SERVICE_NAME": "gallery"}) as server:
            headers = {"Traceparent": GOOD, "Prefer": "wait=30"}
            failed = httpx2.post(f"{server.url}/v1/jobs/broken", json={"secret": "hush"}, headers=headers, timeout=60)
            assert failed.status_code == 409
            task_id = failed.json()["task"]
        spans = collector.until("run broken", "POST /v1/jobs/{job}")
        run = spans["run broken"]
        assert (
            run["error"] and run["about"]["error.type"] == "ValueError" and run["about"]["offload.outcome"] == "error"
        )
        assert "hush" not in str(collector.spans) and collector.resources[0]["service.name"] == "gallery"
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        (line,) = [line for line in lines if line.get("task") == task_id]
        assert (line["job"], line["attempt"], line["outcome"], line["trace_id"]) == ("broken", 1, "error", TRACE)
        assert "hush" not in server.log()


@pytest.mark.parametrize(("address", "said"), [("127.0.0.1:4318", "http://127.0.0.1:4318")])
def test_an_address_that_is_none_is_refused_at_the_start(tmp_path: Path, address: str, said: str) -> None:
    from tests.end_to_end.test_s3 import serve

    ended = serve(tmp_path, "", {"OFFLOAD_TRACE_TO": address})
    assert ended.returncode != 0 and "trace_to" in ended.stderr and said in ended.stderr
