"""Jobs that have worker processes of their own."""

import os
import time

from offload import job

held: list[bytearray] = []


def touch(path: str, text: str = "") -> None:
    """Show the test that the job runs, and in which process."""
    with open(path + ".new", "w") as file:
        file.write(text or str(os.getpid()))
    os.replace(path + ".new", path)


@job(workers=1)
class Alone:
    """In a process of its own, built before the first task."""

    def __init__(self) -> None:
        self.built_at = time.monotonic()

    def __call__(self, begun: str = "") -> int:
        if begun:
            touch(begun)
            time.sleep(60)
        return os.getpid()


@job(workers=1, recycle_tasks=2)
def short_lived() -> int:
    return os.getpid()


@job(workers=1, recycle_memory="150MB")
def grows(megabytes: int) -> int:
    held.append(bytearray(megabytes * 2**20))
    return os.getpid()
