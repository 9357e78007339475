"""WSGI (PEP 3333): the environ of a request, and one call of an application with a file for its response."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from offload.core.files import File
from offload.wrap.apps.messages import Head, ResponseFile

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


def environ_of(head: Head, body: IO[bytes], *, threads: bool) -> Environ:
    """Return what an application hears of a request."""
    path = unquote_to_bytes(head.path).decode("latin-1")
    server = head.server or ("localhost", 80)
    environ: Environ = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": head.root_path,
        "PATH_INFO": path.removeprefix(head.root_path) if head.root_path else path,
        "QUERY_STRING": head.query,
        "REQUEST_URI": head.target,
        "RAW_URI": head.target,
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{head.http_version}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": head.scheme,
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": threads,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if head.client is not None:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = head.client[0], str(head.client[1])
    for name, value in head.headers:
        if "_" in name:
            continue  # cannot be told from a field with a hyphen, which a proxy in front may have checked
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        joint = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
    return environ


def respond(app: App, head: Head, body: Path | None, response: ResponseFile) -> File:
    """Call the application and write what it answers. Whatever it raises comes through."""
    with (body or Path("/dev/null")).open("rb") as source:
        environ = environ_of(head, source, threads=False)
        began: list[tuple[str, list[tuple[str, str]]]] = []

        def write(chunk: bytes) -> None:
            _begin(began, response)
            response.write(chunk)

        def start_response(status: str, fields: list[tuple[str, str]], error: Any = None) -> Callable[[bytes], None]:
            check_start(began=bool(began), sent=response.started, error=error)
            began[:] = [(status, list(fields))]
            return write

        chunks = app(environ, start_response)
        try:
            for chunk in chunks:
                if chunk:
                    write(chunk)
                if response.is_too_large:
                    break
            _begin(began, response)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
    return response.finish()


def check_start(*, began: bool, sent: bool, error: Any) -> None:
    """Raise when an application may not start its response again (PEP 3333, `exc_info`)."""
    if error is not None and sent:
        raise error[1].with_traceback(error[2])
    if began and error is None:
        raise AssertionError("start_response was called twice without exc_info")


def split_status(status: str) -> tuple[int, str]:
    """Return code and phrase of a status such as `200 OK`."""
    code, _, phrase = status.partition(" ")
    return int(code), phrase


def _begin(began: list[tuple[str, list[tuple[str, str]]]], response: ResponseFile) -> None:
    if began and not response.started:
        code, phrase = split_status(began[0][0])
        response.start(code, began[0][1], phrase)
