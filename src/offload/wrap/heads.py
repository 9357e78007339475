"""Reads the head of a request from its ASGI scope."""

from urllib.parse import quote

from starlette.types import Scope

from offload.wrap.apps.messages import Head, end_to_end


def head_of(scope: Scope) -> Head:
    """Return what an application has to know of a request, without what was said to this server only."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"], safe="/:@!$&'()*+,;=~-._%").encode()
    server, client = scope.get("server"), scope.get("client")
    fields = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    return Head(
        method=scope["method"],
        path=raw.decode("latin-1"),
        query=scope["query_string"].decode("latin-1"),
        headers=end_to_end(fields),
        scheme=scope.get("scheme", "http"),
        http_version=scope.get("http_version", "1.1"),
        root_path=scope.get("root_path", ""),
        server=None if server is None else (server[0], server[1] or 0),
        client=None if client is None else (client[0], client[1]),
    )


def has_body(scope: Scope) -> bool:
    """Tell whether a body follows the head."""
    fields = dict(scope["headers"])
    return b"transfer-encoding" in fields or fields.get(b"content-length", b"0").strip(b"0") != b""
