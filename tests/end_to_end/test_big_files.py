"""Files of a gigabyte go through a server whose memory does not grow with them."""

import hashlib
import http.client
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.end_to_end.big_jobs import PIECE_BYTES
from tests.servers import Server

JOBS = Path(__file__).parent / "big_jobs.py"
GROWTH_BYTES_MAX = 32 << 20
UPLOAD_PIECES = 1024
RESULT_PIECES = 200
PIECE = bytes(range(256)) * (PIECE_BYTES // 256)


def memory_bytes(server: Server, line: str) -> int:
    """Return what /proc says of the server process: VmRSS is now, VmHWM the most since it was last forgotten."""
    for row in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if row.startswith(f"{line}:"):
            return int(row.split()[1]) * 1024
    raise AssertionError(f"/proc has no {line}")


class Peak:
    """How much the server's memory grew at most since this was made."""

    def __init__(self, server: Server) -> None:
        Path(f"/proc/{server.pid}/clear_refs").write_text("5")
        self._server = server
        self._before = memory_bytes(server, "VmRSS")

    def growth_bytes(self) -> int:
        return memory_bytes(self._server, "VmHWM") - self._before


def connect(server: Server) -> http.client.HTTPConnection:
    address = urlsplit(server.url)
    assert address.hostname is not None
    return http.client.HTTPConnection(address.hostname, address.port, timeout=300)


def pieces(*, before: bytes = b"", after: bytes = b"") -> Iterator[bytes]:
    if before:
        yield before
    for _ in range(UPLOAD_PIECES):
        yield PIECE
    if after:
        yield after


def warm(server: Server) -> None:
    """Let the server load what a first upload needs, so that only growth with the size is measured."""
    connection = connect(server)
    connection.request("POST", "/v1/jobs/digest", b"x" * 100_000, {"Prefer": "wait=60", "Content-Type": "a/b"})
    assert connection.getresponse().read()
    connection.close()


def upload(server: Server, body: Iterator[bytes], headers: dict[str, str]) -> dict[str, object]:
    connection = connect(server)
    connection.request("POST", "/v1/jobs/digest", body, {"Prefer": "wait=60", **headers}, encode_chunked=False)
    answer = connection.getresponse()
    body_text = answer.read()
    location = answer.headers["Location"]
    while answer.status == 202:
        connection.request("GET", f"{location}/result?wait=60")
        answer = connection.getresponse()
        body_text = answer.read()
    connection.close()
    assert answer.status == 200, body_text
    found: dict[str, object] = json.loads(body_text)
    return found


@pytest.fixture(scope="module")
def wanted() -> dict[str, object]:
    found = hashlib.sha256()
    for piece in pieces():
        found.update(piece)
    return {"size": UPLOAD_PIECES * PIECE_BYTES, "sha256": found.hexdigest()}


@pytest.mark.parametrize("form", [False, True], ids=["raw", "multipart"])
def test_a_gigabyte_is_streamed_to_the_job(tmp_path: Path, wanted: dict[str, object], form: bool) -> None:
    size = UPLOAD_PIECES * PIECE_BYTES
    before = after = b""
    headers = {"Content-Type": "application/octet-stream"}
    if form:
        boundary = uuid.uuid4().hex
        named = 'Content-Disposition: form-data; name="file"; filename="big.bin"'
        before, after = f"--{boundary}\r\n{named}\r\n\r\n".encode(), f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    headers["Content-Length"] = str(size + len(before) + len(after))
    with Server(JOBS, tmp_path / "data", "--workers", "1") as server:
        warm(server)
        peak = Peak(server)
        assert upload(server, pieces(before=before, after=after), headers) == wanted
        assert peak.growth_bytes() < GROWTH_BYTES_MAX


def test_a_large_result_is_read_in_parts(tmp_path: Path) -> None:
    with Server(JOBS, tmp_path / "data", "--workers", "1") as server:
        warm(server)
        connection = connect(server)
        connection.request(
            "POST", "/v1/jobs/counted", json.dumps({"pieces": RESULT_PIECES}), {"Content-Type": "application/json"}
        )
        task = json.loads(connection.getresponse().read())
        while task["status"] in ("QUEUED", "RUNNING"):
            connection.request("GET", f"/v1/tasks/{task['id']}?wait=60")
            task = json.loads(connection.getresponse().read())
        assert (task["status"], task["result_size"]) == ("DONE", RESULT_PIECES * PIECE_BYTES), task
        peak = Peak(server)
        for first in (0, 7, RESULT_PIECES - 1):
            start = first * PIECE_BYTES
            connection.request("GET", task["links"]["result"], headers={"Range": f"bytes={start}-{start + 7}"})
            answer = connection.getresponse()
            assert (answer.status, int.from_bytes(answer.read(), "big")) == (206, first)
        connection.request("GET", task["links"]["result"])
        answer = connection.getresponse()
        assert answer.headers["Content-Length"] == str(RESULT_PIECES * PIECE_BYTES)
        for number in range(RESULT_PIECES):
            assert int.from_bytes(answer.read(PIECE_BYTES)[:8], "big") == number
        assert peak.growth_bytes() < GROWTH_BYTES_MAX
        connection.close()
