"""Jobs of every temper, for a storm of tasks; each leaves a line when it begins."""

import asyncio
import os
import time
from collections.abc import Iterator

from offload import Context, job


def begin(trace: str, key: str) -> None:
    fd = os.open(trace, os.O_WRONLY | os.O_APPEND)
    os.write(fd, f"{key}\n".encode())
    os.close(fd)


@job(timeout=2)
def short(trace: str, key: str) -> str:
    begin(trace, key)
    return key


@job(timeout=0.5, grace=0.3)
def sleeps(trace: str, key: str, seconds: float) -> None:
    begin(trace, key)
    time.sleep(seconds)


@job(timeout=0.5, grace=0.3)
def stubborn(trace: str, key: str, seconds: float) -> None:
    begin(trace, key)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(0.01)
        except BaseException:
            continue


@job(timeout=0.5, grace=0.3)
def careful(trace: str, key: str, seconds: float, ctx: Context) -> None:
    begin(trace, key)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ctx.check()
        ctx.progress(0.5, "on the way")
        time.sleep(0.002)


@job(timeout=2)
def dies(trace: str, key: str, how: int) -> None:
    begin(trace, key)
    if how == 0:
        os._exit(3)
    os.kill(os.getpid(), how)


@job(timeout=2)
def returns_much(trace: str, key: str) -> str:
    begin(trace, key)
    return key * 50_000


@job(timeout=2)
def talks(trace: str, key: str) -> Iterator[int]:
    begin(trace, key)
    for number in range(300):
        print(number, key)
        yield number


@job(timeout=1, grace=0.3, memory="120MB")
def eats(trace: str, key: str) -> int:
    begin(trace, key)
    return len(bytearray(200 * 2**20))


@job(workers=1, recycle_tasks=3, timeout=0.5, grace=0.3)
def worn(trace: str, key: str, seconds: float) -> None:
    begin(trace, key)
    time.sleep(seconds)


@job(timeout=0.5, grace=0.3)
async def waits(trace: str, key: str, seconds: float) -> None:
    begin(trace, key)
    await asyncio.sleep(seconds)


@job(timeout=0.5, grace=0.3)
async def holds_the_loop(trace: str, key: str, seconds: float) -> None:
    begin(trace, key)
    time.sleep(seconds)


@job(workers=1, recycle_tasks=7, timeout=0.5, grace=0.3)
async def refuses(trace: str, key: str, seconds: float) -> None:
    begin(trace, key)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            continue
