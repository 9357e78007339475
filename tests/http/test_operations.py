"""Jobs, queues, health, metrics, the pages and openapi.json."""

import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from offload.http.app import ROUTES
from offload.http.config import HttpConfig
from offload.http.openapi import build
from offload.http.problems import PROBLEMS
from tests.http.kit import CATALOG, serving

NOT_IN_THE_REFERENCE = {
    "/",
    "/docs",
    "/docs/{name}",
    "/dashboard/{name}",
    "/client.js",
    "/client.d.ts",
    "/client/{name}",
}
DASHBOARD = Path(__file__).parents[2] / "src/offload/http/assets/dashboard"


async def test_jobs_are_listed_and_described(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        jobs = (await server.client.get("/v1/jobs")).json()["jobs"]
        assert [job["name"] for job in jobs] == list(CATALOG.jobs)
        add = (await server.client.get("/v1/jobs/add")).json()
        assert add in jobs
        assert add["description"] == "Add two numbers."
        assert set(add["input"]["properties"]) == {"a", "b"} and add["input"]["required"] == ["a"]
        assert (add["result"], add["result_type"], add["queue"]) == ({"type": "integer"}, "application/json", "default")
        copy = (await server.client.get("/v1/jobs/copy")).json()
        assert (copy["result_type"], copy["file_parameters"], copy["queue"]) == (None, ["image"], "images")
        missing = await server.client.get("/v1/jobs/nosuch")
        assert (missing.status_code, missing.json()["code"]) == (404, "JobDoesNotExist")


async def test_queues_tell_what_waits_and_can_be_paused(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        paused = await server.client.post("/v1/queues/default/pause")
        assert (paused.status_code, paused.json()["state"]) == (200, "paused")
        task = await server.submit("ping")
        queue = (await server.client.get("/v1/queues/default")).json()
        assert (queue["queued"], queue["ready"], queue["running"], queue["tasks"]) == (1, 1, 0, 1)
        assert queue["oldest_wait_seconds"] >= 0 and "ping" in queue["jobs"]
        assert [each["name"] for each in (await server.client.get("/v1/queues")).json()["queues"]] == [
            "default",
            "images",
        ]
        resumed = await server.client.post("/v1/queues/default/resume")
        assert (resumed.status_code, resumed.json()["state"]) == (200, "accepting")
        assert (await server.finished(task["id"]))["status"] == "DONE"
        for method, path in (("GET", ""), ("POST", "/pause"), ("POST", "/resume")):
            answer = await server.client.request(method, f"/v1/queues/nosuch{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "QueueDoesNotExist")


async def test_alive_and_ready(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        assert (await server.client.get("/healthz")).json() == {"status": "alive"}
        ready = await server.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "ready")
        assert set(ready.json()["checks"].values()) == {"ok"}
        server.engine.begin_stop()
        stopping = await server.client.get("/readyz")
        assert (stopping.status_code, stopping.json()["code"]) == (503, "NotReady")
        assert stopping.json()["checks"]["node"] == "stopping"


async def test_metrics_count_with_bounded_labels(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await server.finished((await server.submit("ping"))["id"])
        await server.client.get("/no/such/place")
        await server.client.request("BREW", "/healthz")
        answer = await server.client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        found = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        assert all(str(key[0]).startswith("offload_") for key in found)
        assert found["offload_tasks_submitted_total", ("job_name", "ping")] == 1
        assert found["offload_tasks_finished_total", ("job_name", "ping"), ("reason", ""), ("status", "DONE")] == 1
        submits = ("method", "POST"), ("route", "/v1/jobs/{job}"), ("status", "202")
        assert found["offload_http_requests_total", *submits] == 1
        nowhere = ("method", "GET"), ("route", "none"), ("status", "404")
        assert found["offload_http_requests_total", *nowhere] == 1
        assert ("offload_http_requests_total", ("method", "other"), ("route", "/healthz"), ("status", "405")) in found
        assert found["offload_queue_tasks", ("queue", "default"), ("state", "queued")] == 0
        assert ("offload_workers", ("lane", "shared"), ("state", "idle")) in found


async def test_openapi_names_every_route_and_each_job_with_its_own_schemas(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        api = (await server.client.get("/openapi.json")).json()
        assert api["openapi"].startswith("3.1")
        operations = {(path, method.upper()) for path, methods in api["paths"].items() for method in methods}
        wanted = {
            (path, method) for path, methods in ROUTES.items() for method in methods if path not in NOT_IN_THE_REFERENCE
        }
        assert not wanted - operations
        assert operations - wanted == {
            (f"/v1/jobs/{name}", method) for name in CATALOG.jobs for method in ("GET", "POST")
        }
        body = api["paths"]["/v1/jobs/add"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert body == CATALOG.find("add").schema.input
        told = set(
            re.findall(r"`(\w+)`", str([each["description"] for each in api["components"]["responses"].values()]))
        )
        assert told >= set(PROBLEMS) - {"InternalError"} or told >= set(PROBLEMS)


def test_openapi_is_a_document_of_openapi_3_1_and_says_how_keys_are_given() -> None:
    api = build(CATALOG, HttpConfig())
    assert [error.message for error in OpenAPIV31SpecValidator(api).iter_errors()] == []
    assert api["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert api["paths"]["/v1/tasks"]["post"]["security"] == [{"key": ["submit"]}, {}]
    assert api["paths"]["/v1/keys"]["get"]["security"] == [{"key": ["admin"]}, {}]
    del api["info"]["title"]
    assert list(OpenAPIV31SpecValidator(api).iter_errors())  # it does look


async def test_every_reference_in_openapi_leads_somewhere(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        api = (await server.client.get("/openapi.json")).json()

        def references(node: Any) -> list[str]:
            if isinstance(node, dict):
                own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
                return own + [found for child in node.values() for found in references(child)]
            return [found for child in node for found in references(child)] if isinstance(node, list) else []

        for reference in set(references(api)):
            if reference.startswith("#/components/"):
                _, _, kind, name = reference.split("/")
                assert name in api["components"][kind], reference


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/docs", "text/html"),
        ("/docs/docs.js", "text/javascript"),
        ("/docs/style.css", "text/css"),
        ("/docs/mark.svg", "image/svg+xml"),
        ("/dashboard/dashboard.css", "text/css"),
        *((f"/dashboard/{module.name}", "text/javascript") for module in sorted(DASHBOARD.glob("*.js"))),
        ("/client.js", "text/javascript"),
        ("/client.d.ts", "text/plain"),
        ("/client/events.js", "text/javascript"),
        ("/client/offload.js", "text/javascript"),
        ("/client/offload.d.ts", "text/plain"),
        ("/client/upload.js", "text/javascript"),
    ],
)
async def test_the_pages_work_offline_under_a_strict_policy(tmp_path: Path, path: str, kind: str) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.get(path)
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        outside = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", answer.text)
        assert outside in ([], ["http://www.w3.org"]), "nothing is fetched from elsewhere"
        assert "preact" in path or not re.search(
            r"<script(?![^>]*\bsrc=)|\son\w+=[\"']|style=|innerHTML|document\.write", answer.text
        )
        again = await server.client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
        for link in re.findall(r'(?:href|src)="([^"#$]+)"', answer.text) if kind == "text/html" else ():
            assert (await server.client.get(link)).status_code == 200, link


async def test_other_names_below_docs_and_client_are_404(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for name in ("nosuch.js", "client.js", "..%2f..%2fstyle.css", "offload.py"):
            assert (await server.client.get(f"/client/{name}")).status_code == 404
        for name in ("nosuch.js", "index.html", "..%2fstyle.css", "%00.js", "LICENSE"):
            assert (await server.client.get(f"/dashboard/{name}")).status_code == 404
        for name in ("nosuch.js", "index.html", "..%2fapp.py", "docs.html"):
            assert (await server.client.get(f"/docs/{name}")).status_code == 404
