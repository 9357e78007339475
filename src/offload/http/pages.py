"""The pages for people: a landing page and a reference that works offline, and openapi.json behind it."""

from functools import cache
from hashlib import sha256
from importlib.resources import files as package_files

import msgspec
from starlette.responses import Response

from offload.core.errors import FileDoesNotExist
from offload.http import openapi
from offload.http.browsers import OWN_FIELDS
from offload.http.call import Call
from offload.http.conditional import not_modified
from offload.http.present import json_answer

PAGE_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
DASHBOARD_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing may ever become a script, nor be framed."""
DASHBOARD_TYPES = {"js": "text/javascript", "css": "text/css"}
ASSETS = {"style.css": "text/css", "docs.js": "text/javascript", "mark.svg": "image/svg+xml"}
CLIENT_TYPES = {".js": "text/javascript", ".d.ts": "text/plain"}
CLIENT = (
    "client.js",
    "client.d.ts",
    "client/events.js",
    "client/upload.js",
    "client/offload.js",
    "client/offload.d.ts",
)
"""The JavaScript client as pages import it: copies of clients/js, so that they are there wherever the package is."""


async def get_openapi(call: Call) -> Response:
    """Built once for these jobs."""
    body = call.memory.get("openapi")
    if body is None:
        body = call.memory["openapi"] = msgspec.json.encode(openapi.build(call.engine.catalog, call.config))
    return json_answer(body)


async def get_landing(call: Call) -> Response:
    """The dashboard: what it shows it asks for itself, with whatever key the browser has."""
    return _page(call, "dashboard/index.html", "text/html", policy=DASHBOARD_POLICY)


async def get_dashboard(call: Call) -> Response:
    name = call.parameters["name"]
    kind = DASHBOARD_TYPES.get(name.rpartition(".")[2])
    if kind is None or name not in _dashboard():
        raise FileDoesNotExist(name)
    return _page(call, f"dashboard/{name}", kind)


async def get_docs(call: Call) -> Response:
    return _page(call, "docs.html", "text/html")


async def get_asset(call: Call) -> Response:
    name = call.parameters["name"]
    if name not in ASSETS:
        raise FileDoesNotExist(name)
    return _page(call, name, ASSETS[name])


async def get_client(call: Call) -> Response:
    """A module of the JavaScript client, or what TypeScript wants to know of it."""
    name = call.path[1:]
    if name not in CLIENT:
        raise FileDoesNotExist(name)
    return _page(call, f"javascript/{name}", CLIENT_TYPES[name[name.index(".") :]])


def _page(call: Call, name: str, media_type: str, *, policy: bytes = PAGE_POLICY) -> Response:
    body = _read(name)
    etag = f'"{hash_of(body)}"'
    if not_modified(call.header(b"if-none-match"), etag):
        response = Response(status_code=304)
    else:
        response = Response(body, media_type=media_type)
    response.raw_headers.extend((
        (b"content-security-policy", policy),
        *OWN_FIELDS,
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-cache"),
        (b"etag", etag.encode()),
    ))  # fmt: skip
    return response


@cache
def _dashboard() -> frozenset[str]:
    return frozenset(each.name for each in package_files("offload.http").joinpath("assets", "dashboard").iterdir())


@cache
def _read(name: str) -> bytes:
    return package_files("offload.http").joinpath("assets", name).read_bytes()


def hash_of(body: bytes) -> str:
    return sha256(body).hexdigest()[:32]
