"""Whatever a machine makes of openapi.json: no fault of ours, and no answer that is not described."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks

from offload.http.config import HttpConfig
from offload.http.openapi import build
from tests.http.kit import CATALOG
from tests.http.sockets import listening

CONFIG = HttpConfig(wait_seconds_max=0.1)
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
    checks.allow_header_conformance,
    checks.missing_required_header,
]

DOCUMENT = build(CATALOG, CONFIG)
for path in ("/v1/keys", "/v1/keys/{id}"):
    del DOCUMENT["paths"][path]  # after one key every other request would only be refused
del DOCUMENT["paths"]["/v1/overview/events"]  # a stream that never ends; test_overview.py reads it
api = schemathesis.openapi.from_dict(DOCUMENT, config=SchemathesisConfig())


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve in a thread of its own while the examples run."""
    root: Path = tmp_path_factory.mktemp("server")
    stop, ready, ports = threading.Event(), threading.Event(), list[int]()

    async def run() -> None:
        async with listening(root, config=CONFIG) as server:
            ports.append(server.port)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=[run()])
    thread.start()
    assert ready.wait(30)
    yield f"http://127.0.0.1:{ports[0]}"
    stop.set()
    thread.join(30)


@api.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_described(case: Case[Any], base_url: str) -> None:
    case.call_and_validate(base_url=base_url, checks=CHECKS, timeout=30)
