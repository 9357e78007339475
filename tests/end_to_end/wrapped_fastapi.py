"""A stock FastAPI application with uploads, a lifespan and streams, for tests that wrap it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.responses import PlainTextResponse, Response, StreamingResponse


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"model": "loaded"}


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def home(request: Request) -> dict[str, str]:
    return {"model": request.state.model}


@app.post("/transcribe")
async def transcribe(request: Request, audio: UploadFile = File(), language: str = Form("en")) -> dict[str, Any]:  # noqa: B008
    await asyncio.sleep(0.5)
    data = await audio.read()
    told = {"name": audio.filename, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return {**told, "language": language, "model": request.state.model}


@app.get("/number/{number}")
def number(number: int) -> int:
    return number


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def parts() -> AsyncIterator[bytes]:
        for part in range(300):
            yield b"%d\n" % part * 50

    return StreamingResponse(parts(), 203, {"X-Kind": "stream"}, "text/plain")


@app.get("/cookies")
async def cookies() -> PlainTextResponse:
    answer = PlainTextResponse("two cookies")
    answer.set_cookie("a", "1")
    answer.set_cookie("b", "2")
    return answer


@app.get("/empty")
async def empty() -> Response:
    return Response(status_code=204)


@app.get("/broken")
async def broken() -> None:
    raise RuntimeError("a fault of the application")


@app.post("/raw")
async def raw(request: Request) -> Response:
    return Response(await request.body(), media_type="application/octet-stream")
