"""An application that knows nothing of offload, for the tests of the JavaScript client against `offload wrap`."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse


def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer with the status in the path and an echo of the rest; at /page and /client.js with what is there."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    status = environ["PATH_INFO"].strip("/")
    if status in ("page", "client.js"):
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<!doctype html><p>mine"]
    headers = [("Content-Type", "text/x-echo"), ("X-Mine", f"{environ['REQUEST_METHOD']} {environ['QUERY_STRING']}")]
    if status in ("202", "503"):
        headers += [("Retry-After", "1"), ("Location", "/elsewhere")]
    start_response(f"{status} As Asked", headers)
    return [environ.get("CONTENT_TYPE", "").partition(";")[0].encode(), b" ", body]
