"""What a client may send that no HTTP library would: each gets a clear answer, and the connection is never confused."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from offload.core.errors import WrongSetting
from offload.http.config import HttpConfig
from offload.http.server import listen, loopback_address
from tests.http.sockets import Listening, listening

HELLO = "GET /healthz HTTP/1.1\nHost: localhost"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def upload_head(size: int) -> bytes:
    head = "POST /v1/jobs/copy HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png"
    return f"{head}\r\nContent-Length: {size}\r\n\r\n".encode()


def code_of(answer: bytes) -> str:
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["code"]) if answer else "no answer at all"


async def test_a_request_is_answered_on_the_port_that_was_taken(tmp_path: Path) -> None:
    async with listening(tmp_path) as server:
        assert server.port > 0
        assert status_of(await server.ask(HELLO)) == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /v1/jobs/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /v1/jobs/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /v1/jobs/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2, 2\r\n\r\n{}",
        b"POST /v1/jobs/ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2\r\n\r\n{}",
        b"POST /v1/jobs/ping HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n{}",
        b"POST /v1/jobs/ping HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: a\r\nTransfer-Encoding: b\r\n\r\n0",
        b"POST /v1/jobs/ping HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Folded: a\r\n b\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Nul: a\x00b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX Y: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n",
        b"GET /health\xc3\xbcz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_what_two_readers_could_understand_differently_is_refused_and_the_connection_closed(
    tmp_path: Path, request_bytes: bytes
) -> None:
    async with listening(tmp_path) as server:
        answer = await server.talk(
            request_bytes + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert (status_of(answer), code_of(answer)) == (400, "WrongRequest")
        assert answer.count(b"HTTP/1.1 ") == 1, "the bytes after it were taken for another request"
        assert b"offload-request-id: " in answer
        assert not server.server.memory._rows


async def test_a_name_that_is_not_ours_is_421(tmp_path: Path) -> None:
    async with listening(tmp_path, config=HttpConfig(hosts=("jobs.example",))) as server:
        for host, status in (
            ("evil.test", 421),
            ("localhost.evil.test", 421),
            ("127.0.0.1.evil.test:80", 421),
            ("jobs.example:8000", 200),
            (f"localhost:{server.port}", 200),
            ("[::1]:8000", 200),
            ("127.0.0.1", 200),
            ("LOCALHOST", 200),
        ):
            answer = await server.ask(f"GET /healthz HTTP/1.1\nHost: {host}")
            assert status_of(answer) == status, host


async def test_a_page_of_another_site_may_change_nothing(tmp_path: Path) -> None:
    async with listening(tmp_path) as server:
        post = "POST /v1/jobs/ping HTTP/1.1\nHost: localhost:8000\nContent-Type: application/json\nContent-Length: 2"
        answer = await server.ask(f"{post}\nOrigin: https://evil.test", b"{}")
        assert (status_of(answer), code_of(answer)) == (403, "CrossOriginRefused")
        assert status_of(await server.ask(f"{post}\nOrigin: null", b"{}")) == 403
        assert status_of(await server.ask(f"{post}\nOrigin: http://localhost:8000", b"{}")) == 202


async def test_a_header_beyond_its_bounds_is_431_whole_or_in_pieces(tmp_path: Path) -> None:
    async with listening(tmp_path) as server:
        assert status_of(await server.ask(f"{HELLO}\nX-Big: {'a' * 100_000}")) == 431
        assert status_of(await server.ask("\n".join([HELLO, *(f"X-{n}: a" for n in range(200))]))) == 431
        assert status_of(await server.ask(f"GET /healthz?{'a' * 9000} HTTP/1.1\nHost: localhost")) == 414
        endless = [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Big: ", *[b"a" * 8000] * 20]
        assert status_of(await server.talk(*endless)) == 431


async def test_a_client_that_goes_on_sending_hears_why_it_was_refused(tmp_path: Path) -> None:
    async with listening(tmp_path) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"a" * 100_000)
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 431
        for _ in range(20):
            writer.write(b"a" * 8000)
            await writer.drain()
        await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_a_header_that_never_ends_is_cut_off(tmp_path: Path) -> None:
    async with listening(tmp_path, config=HttpConfig(header_seconds_max=0.3)) as server:
        reader, writer = await connected_with(server, b"GET /healthz HTTP/1.1\r\nHost: loc")
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert (status_of(answer), code_of(answer)) == (408, "RequestTooSlow")
        assert await server.talk() == b"", "a connection on which nothing comes is closed"


async def connected_with(server: Listening, begin: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect, with bytes that are there before the server can begin to count the time."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(begin)
    return await asyncio.open_connection(sock=connection)


async def test_the_second_header_on_a_connection_has_a_deadline_too(tmp_path: Path) -> None:
    async with listening(tmp_path, config=HttpConfig(header_seconds_max=0.3)) as server:
        whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        reader, writer = await connected_with(server, whole)
        assert status_of(await reader.readuntil(b"}")) == 200
        writer.write(whole[:20])
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert status_of(answer) == 408


async def test_a_body_that_trickles_is_cut_off_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offload.http.protocol.BODY_LOOK_SECONDS", 0.3)
    async with listening(tmp_path) as server:
        answer = await server.talk(upload_head(100_000) + b"some")
        assert (status_of(answer), code_of(answer)) == (408, "RequestTooSlow")
        await _nothing_stored(server)


FORM_HEAD = (
    b"POST /v1/jobs/copy HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 9000000\r\n\r\n"
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
)


@pytest.mark.parametrize("head", [upload_head(9_000_000), FORM_HEAD], ids=["raw", "form"])
async def test_a_client_that_hangs_up_in_the_middle_of_an_upload_leaves_nothing(tmp_path: Path, head: bytes) -> None:
    async with listening(tmp_path) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + b"x" * 6_000_000)
        async with asyncio.timeout(20):
            while not server.server.blobs():
                await writer.drain()
                await asyncio.sleep(0.01)
        await writer.drain()
        writer.close()
        await _nothing_stored(server)


async def _nothing_stored(server: Listening) -> None:
    async with asyncio.timeout(20):
        while server.server.blobs():
            await asyncio.sleep(0.01)
    assert not server.server.memory._rows


async def test_a_large_body_is_refused_unread_and_the_client_hears_why(tmp_path: Path) -> None:
    async with listening(tmp_path, config=HttpConfig(upload_bytes_max=1000)) as server:
        size = 4_000_000
        answer = await server.talk(upload_head(size) + b"x" * size)
        assert (status_of(answer), code_of(answer)) == (413, "BodyTooLarge")
        assert b"connection: close" in answer.lower()
        assert b'"limit":1000' in answer


async def test_a_small_refused_body_keeps_the_connection(tmp_path: Path) -> None:
    async with listening(tmp_path) as server:
        refused = b"POST /v1/jobs/nosuch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
        after = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = await server.talk(refused + after)
        assert answer.startswith(b"HTTP/1.1 404 ") and answer.count(b"HTTP/1.1 ") == 2
        assert b'{"status":"alive"}' in answer


async def test_who_asks_before_sending_is_refused_before_sending(tmp_path: Path) -> None:
    async with listening(tmp_path) as server:
        head = "POST /v1/jobs/nosuch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\nExpect: 100-continue\r\n\r\n"
        answer = await server.talk(head.encode())
        assert answer.startswith(b"HTTP/1.1 404 ") and b"100 Continue" not in answer
        large = upload_head(1 << 50).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
        answer = await server.talk(large)
        assert answer.startswith(b"HTTP/1.1 413 ") and b"100 Continue" not in answer


async def test_a_client_that_does_not_read_loses_its_connection(tmp_path: Path) -> None:
    async with listening(tmp_path, config=HttpConfig(read_seconds_max=0.3)) as server:
        size = 40_000_000
        stored = await server.server.client.post(
            "/v1/jobs/copy", content=b"x" * size, headers={"content-type": "image/png", "prefer": "wait=30"}
        )
        url = f"{stored.headers['location']}/result"
        assert stored.status_code == 200 and len(stored.content) == size
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1000)
        writer.write(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(30):
            while connections(server):
                await asyncio.sleep(0.05)
        writer.close()


def connections(server: Listening) -> list[str]:
    """Return the connections that the kernel has on the server's port, seen from its side."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[2] for row in rows if row[1].endswith(f":{server.port:04X}") and row[3] == "01"]


async def test_there_are_only_so_many_connections(tmp_path: Path) -> None:
    async with listening(tmp_path, config=HttpConfig(connections_max=2)) as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        for reader, writer in held:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert status_of(await reader.readuntil(b"}")) == 200
        reader, writer = await connected_with(server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()
        assert (status_of(answer), code_of(answer)) == (503, "TooManyConnections")
        for _, writer in held:
            writer.close()


async def test_one_address_has_only_so_many_connections_and_may_open_another_when_one_is_closed(tmp_path: Path) -> None:
    async with listening(tmp_path, config=HttpConfig(connections_per_address_max=1)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status_of(await reader.readuntil(b"}")) == 200
        answer = await server.talk()
        assert (status_of(answer), code_of(answer)) == (503, "TooManyConnections")
        assert b"connections_per_address_max" in answer
        elsewhere, other = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
        other.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status_of(await elsewhere.readuntil(b"}")) == 200
        other.close()
        writer.close()
        async with asyncio.timeout(20):
            while status_of(await server.ask("GET /healthz HTTP/1.1\nHost: localhost")) != 200:
                await asyncio.sleep(0.01)


async def test_a_stop_answers_long_polls_at_once(tmp_path: Path) -> None:
    async with listening(tmp_path) as server:
        task = await server.server.submit("hold", {"gate": "long-poll"})
        asking = asyncio.create_task(server.ask(f"GET /v1/tasks/{task['id']}?wait=60 HTTP/1.1\nHost: localhost"))
        async with asyncio.timeout(20):
            while not server.server.engine.parts.hub.watchers():
                await asyncio.sleep(0.01)
        server.server.engine.begin_stop()
        server.stop.set()
        assert status_of(await asyncio.wait_for(asking, 20)) == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])
def test_without_keys_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(WrongSetting, match="not a loopback address"):
        loopback_address(host)


def test_a_port_in_use_is_said_so() -> None:
    with listen("localhost", 0) as taken:
        taken.listen()
        with pytest.raises(WrongSetting, match="cannot listen on 127.0.0.1"):
            listen("127.0.0.1", taken.getsockname()[1])
