"""What comes out of a task: results as JSON and files, in whole and in part, and what has none."""

from pathlib import Path

import msgspec
import pytest

from offload.http.serving import content_disposition
from tests.http.kit import Server, serving


async def copied(server: Server, data: bytes = b"0123456789", name: str = "digits.bin", kind: str = "image/png") -> str:
    answer = await server.client.post(
        "/v1/jobs/copy", files={"image": (name, data, kind)}, headers={"prefer": "wait=30"}
    )
    assert answer.status_code == 200, answer.text
    return f"{answer.headers['location']}/result"


async def test_a_file_has_its_type_name_length_and_safe_headers(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.get(await copied(server))
        assert (answer.status_code, answer.content) == (200, b"0123456789")
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["content-length"] == "10"
        assert answer.headers["content-disposition"] == 'inline; filename="digits.bin"'
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(
    "kind", ["text/html", "image/svg+xml", "application/pdf", "text/javascript", "application/xml"]
)
async def test_what_could_run_in_a_browser_is_downloaded(tmp_path: Path, kind: str) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.get(await copied(server, b"<script>", "x", kind))
        assert answer.headers["content-disposition"] == 'attachment; filename="x"'
        assert answer.headers["content-type"] == kind


@pytest.mark.parametrize(
    ("asked", "status", "data"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=9-99", 206, b"9"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=0-0", 206, b"0"),
        ("BYTES = 1 - 2", 206, b"12"),
        ("bytes=0-1,3-4", 200, b"0123456789"),
        ("bytes=5-2", 200, b"0123456789"),
        ("bytes=-", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=a-b", 200, b"0123456789"),
        ("bytes=" + "9" * 50 + "-", 200, b"0123456789"),
    ],
)
async def test_a_part_can_be_asked_for(tmp_path: Path, asked: str, status: int, data: bytes) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.get(await copied(server), headers={"range": asked})
        assert (answer.status_code, answer.content) == (status, data)
        assert answer.headers["content-length"] == str(len(data))
        if status == 206:
            start = b"0123456789".index(data)
            assert answer.headers["content-range"] == f"bytes {start}-{start + len(data) - 1}/10"


@pytest.mark.parametrize("asked", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=999999-"])
async def test_a_part_outside_the_file_is_416(tmp_path: Path, asked: str) -> None:
    async with serving(tmp_path) as server:
        for url in (await copied(server), (await copied(server)).replace("/result", "/input/image")):
            answer = await server.client.get(url, headers={"range": asked})
            assert (answer.status_code, answer.json()["code"]) == (416, "WrongRange")
            assert answer.headers["content-range"] == "bytes */10"


async def test_a_part_is_given_only_of_the_file_that_was_meant(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        url = await copied(server)
        etag = (await server.client.get(url)).headers["etag"]
        for if_range, status in (
            (etag, 206),
            ('"other"', 200),
            (f"W/{etag}", 200),
            ("Sat, 21 Nov 2026 04:00:00 GMT", 200),
        ):
            answer = await server.client.get(url, headers={"range": "bytes=0-1", "if-range": if_range})
            assert answer.status_code == status
        assert (await server.client.get(url, headers={"if-none-match": etag})).status_code == 304
        assert (await server.client.get(url, headers={"if-none-match": f'"a", W/{etag}'})).status_code == 304


async def test_head_tells_everything_but_the_file(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.head(await copied(server), headers={"range": "bytes=0-1"})
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-length"] == "10"
        assert answer.headers["content-type"] == "image/png"
        task = await server.client.head((await copied(server)).removesuffix("/result"))
        assert (task.status_code, task.content) == (200, b"") and int(task.headers["content-length"]) > 100


async def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        url = await copied(server, b"")
        answer = await server.client.get(url)
        assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
        assert (await server.client.get(url, headers={"range": "bytes=0-"})).status_code == 416


async def test_a_large_json_result_is_read_at_the_result(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.finished((await server.submit("numbers", {"count": 20_000}))["id"])
        assert (task["result"], task["result_type"]) == (None, "application/json")
        answer = await server.client.get(task["links"]["result"])
        assert answer.json() == list(range(20_000))
        assert len(answer.content) == task["result_size"] > 64 * 1024
        part = await server.client.get(task["links"]["result"], headers={"range": "bytes=0-5"})
        assert (part.status_code, part.content) == (206, answer.content[:6])


async def test_a_result_that_is_not_there_yet_is_202_with_the_task(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.submit("hold", {"gate": "result"})
        answer = await server.client.get(task["links"]["result"])
        assert (answer.status_code, answer.json()["id"]) == (202, task["id"])
        assert int(answer.headers["retry-after"]) >= 1


async def test_a_task_without_a_result_says_why(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        failed = await server.submit("fail", {"message": "no paper"})
        await server.finished(failed["id"])
        answer = await server.client.get(failed["links"]["result"])
        assert (answer.status_code, answer.json()["code"]) == (409, "TaskFailed")
        error = {"type": "ValueError", "message": "no paper", "traceback": "Traceback …"}
        assert (answer.json()["error"], answer.json()["reason"], answer.json()["task"]) == (
            error,
            "error",
            failed["id"],
        )
        rejected = await server.submit("reject", {"message": "not a cat"})
        await server.finished(rejected["id"])
        assert (await server.client.get(rejected["links"]["result"])).json()["reason"] == "rejected"
        canceled = await server.submit("ping", {}, offload_delay="600")
        await server.client.post(canceled["links"]["cancel"])
        answer = await server.client.get(canceled["links"]["result"])
        assert (answer.status_code, answer.json()["code"]) == (410, "TaskIsCanceled")
        await server.client.delete(canceled["links"]["self"])
        answer = await server.client.get(canceled["links"]["result"])
        assert (answer.status_code, answer.json()["code"]) == (410, "TaskIsDeleted")


async def test_what_is_no_longer_kept_is_410(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        url = await copied(server)
        task_id = url.split("/")[3]
        await server.engine.blobs.delete(f"t/{task_id}")
        for gone in (url, url.replace("/result", "/input/image")):
            answer = await server.client.get(gone)
            assert (answer.status_code, answer.json()["code"]) == (410, "ResultExpired")
        row = next(row for row in server.memory._rows.values() if row.task.id == task_id)
        row.task = msgspec.structs.replace(row.task, payload_dropped=True, files=(), result_file=None)
        for gone in (url, url.replace("/result", "/input/image")):
            assert (await server.client.get(gone)).status_code == 410
        await server.client.delete(f"/v1/tasks/{task_id}")
        answer = await server.client.get(url.replace("/result", "/input/image"))
        assert (answer.status_code, answer.json()["code"]) == (410, "TaskIsDeleted")


async def test_an_input_that_was_never_there_is_404(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        url = await copied(server)
        for name in ("width", "nosuch", "image.0", "..%2f..%2fetc"):
            answer = await server.client.get(url.replace("/result", f"/input/{name}"))
            assert answer.status_code == 404
            assert answer.json()["code"] in ("FileDoesNotExist", "RouteDoesNotExist")


async def test_logs_are_text_with_a_line_for_each_attempt(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        task = await server.submit("ping")
        await server.finished(task["id"])
        answer = await server.client.get(task["links"]["logs"])
        assert (answer.status_code, answer.text) == (200, "--- attempt 1 ---\na line\n")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        unrun = await server.submit("ping", {}, offload_delay="600")
        empty = await server.client.get(unrun["links"]["logs"])
        assert (empty.status_code, empty.text) == (200, "")
        assert (await server.client.head(task["links"]["logs"])).status_code == 200


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("cat.png", 'inline; filename="cat.png"'),
        ('a"b\\c%d.png', "inline; filename=\"a_b_c_d.png\"; filename*=UTF-8''a%22b%5Cc%25d.png"),
        ("käse.png", "inline; filename=\"k_se.png\"; filename*=UTF-8''k%C3%A4se.png"),
        ("a\r\nSet-Cookie: x", "inline; filename=\"a__Set-Cookie: x\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x"),
    ],
)
def test_a_name_is_told_to_old_clients_and_new(name: str, field: str) -> None:
    assert content_disposition(name, "image/png") == field
