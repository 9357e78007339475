"""Takes every vector through the door, in a network where every address is this machine, and prints what came of it.

Run it by `unshare -n`: it gives the namespace's loopback every address there is, so whatever is attempted arrives here.
"""

import asyncio
import json
import logging
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote, unquote

from offload.core.errors import OffloadError
from offload.egress import Door
from offload.egress.limits import Limits
from tests.egress.vectors import LOCAL_PORT, NAMES, OPEN, OPEN_V4, closed, misspelt

PORTS = (22, 80, 443, 1024, 6379, LOCAL_PORT, 65535)
REBINDING = {"open-then-closed.test": [[OPEN_V4], ["127.0.0.1"]], "closed-then-open.test": [["10.0.0.1"], [OPEN_V4]]}


class Trace:
    """Every connection that this process attempts, by the interpreter's own account, and every one that arrived."""

    def __init__(self) -> None:
        self.attempted: list[str] = []
        self.arrived: list[str] = []
        sys.addaudithook(self._hear)

    def taken(self) -> dict[str, list[str]]:
        found = {"attempted": self.attempted, "arrived": self.arrived}
        self.attempted, self.arrived = [], []
        return found

    def _hear(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(given[1], tuple):
            self.attempted.append(str(given[1][0]))


class Resolver:
    """Answers from the table; each lookup of a name takes its next answer."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}

    def __call__(self, host: str) -> list[str]:
        answers = {**NAMES, **REBINDING}.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        turn = self._asked[host] = self._asked.get(host, -1) + 1
        return answers[min(turn, len(answers) - 1)]


class Sink:
    """Takes a download and forgets it."""

    async def write(self, chunk: bytes) -> None: ...

    async def commit(self) -> tuple[int, str]:
        return 0, ""

    async def abort(self) -> None: ...


async def main() -> None:
    logging.disable()
    own_every_address()
    trace = Trace()
    servers = [await asyncio.start_server(answering(trace), sock=listener(family, port))
               for family in (socket.AF_INET, socket.AF_INET6) for port in PORTS]  # fmt: skip
    door = Door(lookup=Resolver(), limits=Limits(blur_seconds=0.0, resume_pause_seconds=0.0))
    results = []
    for vector in (*misspelt(), *closed(), *OPEN):
        there = f"http://{OPEN_V4}:{LOCAL_PORT}/to?" + quote(vector.url, errors="surrogatepass", safe="")
        for name, use in features(door).items():
            for way, url in (("direct", vector.url), ("redirect", there)):
                if len(url) <= 8000:
                    outcome = await ended(use, url)
                    results.append({"url": vector.name, "reaches": vector.reaches, "feature": name, "way": way,
                                    "outcome": outcome, **trace.taken()})  # fmt: skip
    rebound = []
    for host in REBINDING:
        for use in features(Door(lookup=Resolver(), limits=Limits(blur_seconds=0.0))).values():
            rebound.append({"host": host, "outcome": await ended(use, f"http://{host}:{LOCAL_PORT}/"), **trace.taken()})
    for server in servers:
        server.close()
    print(json.dumps({"results": results, "rebound": rebound}))


def own_every_address() -> None:
    for command in (
        "ip link set lo up",
        "ip route add local 0.0.0.0/0 dev lo",
        "ip -6 route add local ::/0 dev lo",
    ):
        subprocess.run(command.split(), check=True)
    others = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(others) == 1, f"this is not a network of its own: {others}"


def listener(family: socket.AddressFamily, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(("", port))
    made.listen(512)
    return made


def answering(trace: Trace) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trace.arrived.append(writer.get_extra_info("sockname")[0])
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            _, found, to = head.split(" ")[1].partition("/to?")
            location = unquote(to, errors="surrogatepass").encode("utf-8", "surrogatepass")
            first = b"HTTP/1.1 307 There\r\nLocation: " + location if found else b"HTTP/1.1 200 OK"
            writer.write(first + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return answer


def features(door: Door) -> dict[str, Callable[[str], Awaitable[object]]]:
    async def body() -> AsyncIterator[bytes]:
        yield b"{}"

    return {
        "callback": lambda url: door.send(url, headers={}, body=b"{}"),
        "fetch": lambda url: door.fetch(url, Sink(), bytes_max=1000, seconds_max=10.0),
        "push": lambda url: door.push(url, body(), size=2, headers={"Content-Type": "text/plain"}, seconds_max=10.0),
    }


async def ended(use: Callable[[str], Awaitable[object]], url: str) -> str:
    try:
        await use(url)
    except OffloadError as error:
        return type(error).__name__
    return "ok"


if __name__ == "__main__":
    asyncio.run(main())
