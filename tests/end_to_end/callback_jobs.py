"""Jobs whose ends are told by callbacks."""

import time

from offload import Context, File, Reject, Retry, job


@job
def add(a: int, b: int = 1) -> int:
    return a + b


@job(retry=Retry(max_attempts=1))
def fail(message: str) -> None:
    raise ValueError(message)


@job
def refuse(message: str) -> None:
    raise Reject(message)


@job
def picture(size: int) -> File:
    return File(bytes(range(256)) * (size // 256), name="käse.png", type="image/png")


@job
def steps(count: int, seconds: float = 0.0, *, ctx: Context) -> int:
    for done in range(count):
        ctx.progress(done / count, f"step {done}")
        time.sleep(seconds)
    return count
