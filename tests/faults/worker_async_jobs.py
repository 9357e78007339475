"""Asynchronous jobs that behave well and badly, for the tests of the worker processes."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator

from offload import File, job

log = logging.getLogger("my.jobs")
arrived = 0


def touch(path: str, text: str = "") -> None:
    """Show the test that the job runs, and in which process."""
    with open(path + ".new", "w") as file:
        file.write(text or str(os.getpid()))
    os.replace(path + ".new", path)


@job
async def meets(number: int) -> int:
    """Return when as many others are here at the same time."""
    global arrived
    arrived += 1
    while arrived < number:
        await asyncio.sleep(0.01)
    return arrived


@job
async def waits(begun: str, cleaned: str = "") -> None:
    asyncio.get_running_loop().call_soon(touch, begun)  # once it waits, and no code of it runs any more
    try:
        await asyncio.sleep(60)
    finally:
        if cleaned:
            touch(cleaned)


@job
async def goes_on(begun: str, go: str) -> str:
    touch(begun)
    while not os.path.exists(go):
        await asyncio.sleep(0.01)
    return "went on"


@job(timeout=0.3)
async def waits_too_long() -> None:
    await asyncio.sleep(60)


@job(grace=0.5)
async def refuses_to_stop(begun: str) -> None:
    touch(begun)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


@job
async def cancels_itself() -> None:
    raise asyncio.CancelledError("my own")


@job
async def crashes_when_told(begun: str, go: str) -> None:
    touch(begun)
    while not os.path.exists(go):
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)


@job
async def speaks_between_others(name: str) -> str:
    for number in range(5):
        print(name, number)
        log.info("%s logs %d", name, number)
        await asyncio.sleep(0.01)
    await asyncio.to_thread(print, name, "from a thread")
    return name


@job
async def counts_async(up_to: int) -> AsyncIterator[int]:
    for number in range(up_to):
        yield number


@job
async def writes_file_async(text: str) -> File:
    await asyncio.sleep(0.01)
    return File(text.encode(), name=f"{text}.txt")
