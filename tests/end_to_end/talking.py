"""Raw HTTP for tests that compare answers byte by byte, and direct calls to compare them with."""

import asyncio
import http.client
import io
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

ENDS = {"DONE", "FAILED", "CANCELED"}
OF_THE_SERVER = {
    "date", "connection", "transfer-encoding", "offload-request-id", "offload-task-id", "offload-task-status",
    "preference-applied",
}  # fmt: skip
"""Fields that belong to the connection or to offload, not to the application's answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    fields: list[tuple[str, str]]
    body: bytes

    @property
    def told(self) -> "Answer":
        """Return the application's part of it."""
        return replace(self, fields=[(name, value.strip()) for name, value in self.fields if name not in OF_THE_SERVER])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __getitem__(self, name: str) -> str:
        """Return a header field, empty when there is none."""
        return next((value for found, value in self.fields if found == name), "")


def ask(url: str, path: str, method: str = "GET", body: Any = None, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """Send one request exactly as given."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        given = list(headers)
        if not any(name.lower() == "host" for name, _ in given):
            given.insert(0, ("Host", "localhost"))
        if isinstance(body, bytes) and not any(name.lower() == "content-length" for name, _ in given):
            given.append(("Content-Length", str(len(body))))
        chunked = body is not None and not isinstance(body, bytes)
        if chunked:
            given.append(("Transfer-Encoding", "chunked"))
        for name, value in given:
            connection.putheader(name, value)
        connection.endheaders(body, encode_chunked=chunked)
        response = connection.getresponse()
        fields = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(response.status, fields, response.read())
    finally:
        connection.close()


def later(
    url: str, path: str, method: str = "GET", body: Any = None, headers: Iterable[tuple[str, str]] = ()
) -> Answer:
    """Ask for an answer later, wait for it, and return it as the task's result."""
    taken = ask(url, path, method, body, [*headers, ("Prefer", "respond-async")])
    assert taken.status == 202, taken
    task = ended(url, taken["location"])
    assert task["status"] == "DONE", task
    return ask(url, taken["location"] + "/result")


def ended(url: str, location: str) -> dict[str, Any]:
    """Return a task once it has ended."""
    until = time.monotonic() + 60
    while True:
        task: dict[str, Any] = ask(url, location + "?wait=10").json
        if task["status"] in ENDS:
            return task
        assert time.monotonic() < until, task


def call_wsgi(app: Any, path: str, method: str = "GET") -> Answer:
    """Call an application as its interface says, without any server."""
    path, _, query = path.partition("?")
    heard: list[tuple[str, list[tuple[str, str]]]] = []
    environ = {
        "REQUEST_METHOD": method, "PATH_INFO": unquote(path, "latin-1"), "SCRIPT_NAME": "", "QUERY_STRING": query,
        "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False,
    }  # fmt: skip
    chunks = app(environ, lambda status, fields, error=None: heard.append((status, fields)))
    body = b"".join(chunks)
    getattr(chunks, "close", lambda: None)()
    status, fields = heard[-1]
    return Answer(int(status[:3]), [(name.lower(), value) for name, value in fields], body)


def call_asgi(app: Any, path: str, method: str = "GET", state: dict[str, Any] | None = None) -> Answer:
    """Call an application as its interface says, without any server."""
    path, _, query = path.partition("?")
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": unquote(path), "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "headers": [(b"host", b"localhost")], "client": None, "server": ("localhost", 80),
        "state": state or {},
    }  # fmt: skip

    async def run() -> None:
        asked = False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if asked:
                await asyncio.Event().wait()
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        try:
            await app(scope, receive, send)
        except RuntimeError:
            pass  # the framework has answered, and lets its server know

    asyncio.run(run())
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in sent[0]["headers"]]
    return Answer(sent[0]["status"], fields, b"".join(message.get("body", b"") for message in sent[1:]))
