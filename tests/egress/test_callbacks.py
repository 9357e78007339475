"""Callbacks through the door: what a receiver gets, and what every kind of bad receiver comes to."""

import asyncio
import gzip
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from offload.core.errors import EgressFailed, ExchangeFailed, Unreachable
from offload.egress import Door
from offload.ports import Answer
from tests.backends.free_port import free_port
from tests.egress.zoo import (
    QUICK,
    Behaviour,
    Visit,
    Zoo,
    drips,
    floods,
    never_read,
    pieces,
    redirects,
    reset,
    says,
    stay,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def door(**options: object) -> Door:
    return Door(**{"allow": ["127.0.0.1"], "limits": QUICK, **options})  # type: ignore[arg-type]


async def send(url: str, body: bytes = b"{}") -> Answer:
    return await door().send(url, headers={"Content-Type": "application/json", "webhook-id": "msg_1"}, body=body)


async def test_a_receiver_gets_what_was_sent_and_its_answer_comes_back() -> None:
    async def receive(visit: Visit) -> None:
        await visit.read_body()
        await visit.answer("202 Accepted", b"thanks", "Retry-After: 7")

    async with Zoo({"/hook": receive}).open() as zoo:
        answer = await send(zoo.url("/hook?a=%2F"), b'{"a": 1}')
        assert (answer.status, answer.body, answer.retry_after_seconds) == (202, b"thanks", 7.0)
        assert answer.accepts and answer.latency_seconds > 0
        [visit] = zoo.visits
        assert (visit.method, visit.path, visit.body) == ("POST", "/hook?a=%2F", b'{"a": 1}')
        assert visit.headers["content-type"] == "application/json" and visit.headers["webhook-id"] == "msg_1"
        assert visit.headers["accept-encoding"] == "identity" and visit.headers["user-agent"] == "offload"


async def test_a_body_can_be_streamed() -> None:
    async def receive(visit: Visit) -> None:
        await visit.read_body()
        await visit.answer("200 OK")

    async with Zoo({"/hook": receive}).open() as zoo:
        parts = [b"a" * 70_000] * 5
        await door().send(zoo.url("/hook"), headers={"Content-Length": "350000"}, body=pieces(parts))
        assert zoo.visits[0].body == b"".join(parts)
        assert "transfer-encoding" not in zoo.visits[0].headers


ANSWERS: dict[str, tuple[Behaviour, int]] = {
    "no content": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), 204),
    "gone": (says(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"), 410),
    "fault": (says(b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno"), 500),
    "three interim answers": (says(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3, OK), 200),
    "endless answer": (floods(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), 200),
    "endless chunks": (
        floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"8\r\nxxxxxxxx\r\n" * 999),
        200,
    ),
    "answer in drops": (drips(b"HTTP/1.1 200 OK\r\n\r\n", b"x", pause_seconds=0.05), 200),
    "answer that stops": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx", then_close=False), 200),
    "wrong length": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort"), 200),
    "switching": (says(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), 101),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_counts_by_its_status_however_its_body_ends(name: str) -> None:
    behaviour, status = ANSWERS[name]
    async with Zoo({"/hook": behaviour}).open() as zoo:
        answer = await send(zoo.url("/hook"))
        assert answer.status == status and len(answer.body) <= 64 * 1024
        assert answer.accepts is (200 <= status < 300)


NO_ANSWERS: dict[str, Behaviour] = {
    "never answers": stay,
    "never reads": never_read,
    "resets": reset,
    "closes": says(),
    "half a header": says(b"HTTP/1.1 200 OK\r\nContent-"),
    "header in drops": drips(b"HTTP/1.1 200 OK\r\nX: ", b"x", pause_seconds=0.05),
    "endless header line": floods(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 4096),
    "endless status line": floods(b"HTTP/1.1 200 ", b"x" * 4096),
    "endless header": floods(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100),
    "too many headers": says(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 200, b"Content-Length: 0\r\n\r\n"),
    "too long headers": says(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 4000 + b"\r\n", b"X: " * 1, b"y" * 4000 + b"\r\n",
                             *[b"Y: " + b"y" * 4000 + b"\r\n"] * 20, b"Content-Length: 0\r\n\r\n"),
    "too many interim answers": floods(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "four interim answers": says(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 4, OK),
    "not http": says(b"SSH-2.0-OpenSSH_9.2\r\n", then_close=False),
    "random bytes": says(bytes(range(256)) * 10),
    "bad chunk": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "two lengths": says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_what_is_no_answer_fails_in_time_and_may_be_tried_again(name: str) -> None:
    async with Zoo({"/hook": NO_ANSWERS[name]}).open() as zoo:
        with pytest.raises(ExchangeFailed) as raised:
            await send(zoo.url("/hook"), b"x" * 5_000_000)
        assert raised.value.temporary
        async with asyncio.timeout(20):  # and nothing of it goes on behind our back
            await zoo.visits[0].left.wait()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    async with Zoo({"/hook": redirects("/other", status), "/other": says(OK)}).open() as zoo:
        answer = await send(zoo.url("/hook"))
        assert answer.status == status and not answer.accepts
        assert zoo.paths() == ["/hook"]


async def test_a_bomb_in_an_answer_stays_packed() -> None:
    packed = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    async with Zoo({"/hook": says(head, packed)}).open() as zoo:
        answer = await send(zoo.url("/hook"))
        assert answer.body == packed[: 64 * 1024]


async def test_cookies_proxies_and_netrc_are_none_of_its_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = says(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
    async with Zoo({}).open() as proxy, Zoo({"/hook": cookie}).open() as zoo:
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        one = door()
        for _ in range(2):
            await one.send(zoo.url("/hook"), headers={}, body=b"")
        assert not proxy.visits and len(zoo.visits) == 2
        for visit in zoo.visits:
            assert not {"cookie", "authorization", "proxy-authorization"} & set(visit.headers)


async def test_a_header_cannot_smuggle_a_second_one() -> None:
    async with Zoo({"/hook": says(OK)}).open() as zoo:
        with pytest.raises(EgressFailed) as raised:
            await door().send(zoo.url("/hook"), headers={"Content-Type": "a\r\nX-Evil: b"}, body=b"")
        assert not raised.value.temporary and not zoo.visits


async def test_closed_unknown_and_refusing_places_give_the_same_answer(caplog: pytest.LogCaptureFixture) -> None:
    hosts = {
        "closed.test": ["10.0.0.1"],
        "mixed.test": ["127.0.0.1", "10.0.0.1"],
        "refusing.test": ["127.0.0.1"],
        "empty.test": [],
    }

    def lookup(host: str) -> list[str]:
        if host not in hosts:
            raise OSError("no such name")
        return hosts[host]

    gone = free_port()
    one, told = door(lookup=lookup), set()
    for host in (*hosts, "unknown.test", "10.0.0.1"):
        with pytest.raises(Unreachable) as raised:
            await one.send(f"http://{host}:{gone}/a?secret=1", headers={}, body=b"")
        told.add((type(raised.value), str(raised.value).replace(host, "HOST"), tuple(raised.value.fields.items())))
    assert len(told) == 1
    details = [(record.url, record.detail) for record in caplog.records]  # type: ignore[attr-defined]
    assert len(details) == 6 and "secret" not in str(details)
    assert any("10.0.0.0/8" in detail for _, detail in details), "the operator's log says which"


@pytest.mark.deadline(120)
async def test_names_that_are_never_answered_hold_up_nobody_else() -> None:
    end, asked = threading.Event(), set()

    def lookup(host: str) -> list[str]:
        asked.add(host)
        if host.startswith("dead"):
            end.wait(60)
            raise OSError("no answer")
        return ["127.0.0.1"]

    async with Zoo({"/hook": says(OK)}).open() as zoo:
        one = door(lookup=lookup, limits=replace(QUICK, callback_seconds=60.0))
        dead = [
            asyncio.create_task(one.send(f"http://dead-{n}.test:{zoo.port}/", headers={}, body=b"")) for n in range(200)
        ]
        try:
            while len(asked) < len(dead):
                await asyncio.sleep(0.01)
            answer = await one.send(zoo.url("/hook", host="good.test"), headers={}, body=b"")
            assert answer.status == 200 and not any(task.done() for task in dead)
        finally:
            end.set()
        failed = await asyncio.gather(*dead, return_exceptions=True)
        assert {type(each) for each in failed} == {Unreachable}


def test_it_is_the_same_on_the_loop_that_servers_run_on() -> None:
    async def story() -> None:
        async with Zoo({"/hook": says(OK), "/reset": reset, "/closes": says(), "/stays": stay}).open() as zoo:
            assert (await send(zoo.url("/hook"), b"x" * 3_000_000)).body == b"ok"
            for path in ("/reset", "/closes", "/stays"):
                with pytest.raises(ExchangeFailed):
                    await send(zoo.url(path), b"x" * 3_000_000)
            for url in ("http://10.0.0.1/", "http://[::1]/", "http://127.0.0.1:1024/"):
                with pytest.raises(Unreachable):
                    await send(url)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())


async def test_who_gives_up_leaves_nothing_open() -> None:
    async with Zoo({"/hook": stay}).open() as zoo:
        task = asyncio.create_task(send(zoo.url("/hook")))
        while not zoo.visits:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(20):
            await zoo.visits[0].left.wait()
