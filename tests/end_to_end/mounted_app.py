"""A FastAPI application that mounts its slow routes by itself, for tests that serve it with uvicorn."""

import os

import offload.wrap
from tests.end_to_end import wrapped_fastapi

app = offload.wrap.asgi(
    wrapped_fastapi.app, slow=["/transcribe", "/number/*=1"], data=os.environ.get("MOUNTED_DATA", ".offload"), workers=1
)
