"""A stock Flask application with every kind of answer, for tests that wrap it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from flask import Flask, Response, abort, redirect, request
from werkzeug.wrappers import Response as Answer

app = Flask(__name__)
BINARY = bytes(range(256)) * 1000


@app.get("/")
def home() -> str:
    return "grüße\n"


@app.get("/report")
def report() -> dict[str, object]:
    """Take so many seconds, or until there is a file at `gate`."""
    seconds, gate = float(request.args.get("seconds", "1")), request.args.get("gate")
    while seconds > 0 if gate is None else not Path(gate).exists():
        time.sleep(min(seconds, 0.05))
        seconds -= 0.05
    return {"rows": 3, "asked_by": request.headers.get("Authorization")}


@app.get("/teapot")
def teapot() -> tuple[str, int]:
    return "short and stout", 418


@app.get("/cookies")
def cookies() -> Response:
    answer = Response("two cookies", headers=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2")])
    answer.headers.add("X-Twice", "one")
    answer.headers.add("X-Twice", "two")
    return answer


@app.get("/binary")
def binary() -> Response:
    return Response(BINARY, content_type="application/octet-stream")


@app.get("/encoded")
def encoded() -> Response:
    return Response(b"\x1f\x8b not really gzip", headers={"Content-Encoding": "gzip"})


@app.get("/empty")
def empty() -> tuple[str, int]:
    return "", 204


@app.get("/unchanged")
def unchanged() -> Response:
    return Response(status=304, headers={"ETag": '"1"'})


@app.get("/stream")
def stream() -> Response:
    def parts() -> Iterator[bytes]:
        for number in range(200):
            yield b"%d," % number * 100

    return Response(parts(), content_type="text/csv")


@app.get("/away")
def away() -> Answer:
    return redirect("/elsewhere?x=1", 307)


@app.get("/forbidden")
def forbidden() -> str:
    abort(403)


@app.get("/broken")
def broken() -> str:
    raise RuntimeError("a fault of the application")


@app.get("/dated")
def dated() -> Response:
    return Response("old news", headers={"Date": "Thu, 01 Jan 1970 00:00:00 GMT"})


@app.route("/echo/<path:rest>", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
def echo(rest: str) -> dict[str, object]:
    return {
        "method": request.method,
        "rest": rest,
        "query": request.query_string.decode(),
        "headers": sorted((name.lower(), value) for name, value in request.headers.items()),
        "body": request.get_data().hex(),
    }


@app.post("/size")
def size() -> dict[str, int]:
    total = 0
    while chunk := request.stream.read(65536):
        total += len(chunk)
    return {"bytes": total}


@app.get("/ticks")
def ticks() -> Response:
    def parts() -> Iterator[bytes]:
        while True:
            yield b"tick\n"
            time.sleep(0.05)

    return Response(parts(), content_type="text/plain")


@app.route("/mark/<name>", methods=["POST", "PUT"])
def mark(name: str) -> str:
    """Say that it runs, then wait until told to go on."""
    place = Path(os.environ["MARKS"])
    with (place / f"{name}.runs").open("a") as file:
        file.write(f"{os.getpid()}\n")
    while not (place / f"{name}.go").exists():
        time.sleep(0.02)
    return f"{name} went on"
