"""Jobs behind a proxy."""

import hashlib
import time
from collections.abc import Iterator

from offload import File, job


@job
def add(a: int, b: int) -> int:
    return a + b


@job
def digest(data: File) -> str:
    return hashlib.sha256(data.path.read_bytes()).hexdigest()


@job
def tick(count: int) -> Iterator[int]:
    for number in range(count):
        time.sleep(0.2)
        yield number
