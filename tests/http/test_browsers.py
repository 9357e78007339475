"""What every answer says to a browser, and what is refused because a browser asks for the wrong reason."""

import uuid
from pathlib import Path

import pytest

from offload.core.files import stated_type
from offload.http.app import ROUTES
from tests.http.kit import serving

PAGES = ("/", "/docs")
ENDLESS = "/v1/overview/events"
CODE = ("script", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet", "style", "xslt")


@pytest.mark.parametrize("path", sorted(ROUTES))
async def test_every_answer_is_what_its_type_says_and_nothing_for_other_sites(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as server:
        task = (await server.client.post("/v1/jobs/ping?wait=30")).headers["location"].rpartition("/")[2]
        for method in ROUTES[path]:
            for task_id in (task, str(uuid.uuid4()), "nonsense"):
                address = path.replace("{id}", task_id).replace("{job}", "ping").replace("{", "").replace("}", "")
                ask_for = "HEAD" if path == ENDLESS else method
                answer = await server.client.request(ask_for, address, params={"wait": "0"})
                if answer.status_code == 204:
                    continue
                assert answer.headers["x-content-type-options"] == "nosniff", (method, answer.status_code)
                assert answer.headers["cross-origin-resource-policy"] == "same-origin", method
                assert "access-control-allow-origin" not in answer.headers
                html = answer.headers["content-type"].startswith("text/html")
                assert html == (path in PAGES)
                assert not html or "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("use", CODE)
async def test_a_page_may_not_load_what_a_task_holds_as_code(tmp_path: Path, use: str) -> None:
    async with serving(tmp_path) as server:
        header = {"content-type": "text/javascript", "prefer": "wait=30"}
        answer = await server.client.post("/v1/jobs/copy", content=b"alert(1)", headers=header)
        here = answer.headers["location"]
        for place in (f"{here}/result", f"{here}/input/image"):
            refused = await server.client.get(place, headers={"sec-fetch-dest": use})
            assert (refused.status_code, refused.json()["code"]) == (403, "RunRefused")
            known = await server.client.get(place, headers={"if-none-match": answer.headers["etag"]})
            assert known.status_code == 304, "a cached one is asked for again"
            headers = {"sec-fetch-dest": use, "if-none-match": answer.headers["etag"]}
            assert (await server.client.get(place, headers=headers)).status_code == 403
            for other in ("document", "empty", "image", "iframe"):
                assert (await server.client.get(place, headers={"sec-fetch-dest": other})).status_code == 200


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 202), ("none", 202)]
)
async def test_what_a_browser_says_of_the_page_counts_where_it_says_no_origin(
    tmp_path: Path, site: str, status: int
) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/ping", headers={"sec-fetch-site": site})
        assert answer.status_code == status
        assert (await server.client.get("/v1/tasks", headers={"sec-fetch-site": site})).status_code == 200


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("image/png", "image/png"),
        ("text/csv; charset=utf-8; header=present", "text/csv; charset=utf-8; header=present"),
        ("application/vnd.x+json", "application/vnd.x+json"),
        ("text/html\r\nSet-Cookie: a=b", "image/svg+xml"),
        ("text/plain\n", "image/svg+xml"),
        ("image/png, text/html", "image/svg+xml"),
        ("image/png; x=, text/html", "image/svg+xml"),
        ("text/ü", "image/svg+xml"),
        ("", "image/svg+xml"),
        ("x", "image/svg+xml"),
        ("a/" + "b" * 65, "image/svg+xml"),
    ],
)
def test_the_type_of_a_result_is_one_that_a_header_may_have(given: str, kept: str) -> None:
    assert stated_type(given, "x.svg") == kept
