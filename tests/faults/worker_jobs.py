"""Jobs that behave well and badly, for the tests of the worker processes."""

import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offload import Context, File, Reject, RetryLater, job

log = logging.getLogger("my.jobs")


def touch(path: str, text: str = "") -> None:
    """Show the test that the job runs, and in which process."""
    with open(path + ".new", "w") as file:
        file.write(text or str(os.getpid()))
    os.replace(path + ".new", path)


@job
def add(a: int, b: int) -> int:
    return a + b


@job
def broken() -> None:
    raise ValueError("it broke")


@job
def rejects() -> None:
    raise Reject("not this")


@job
def later() -> None:
    raise RetryLater(7)


@job
def gives(what: str) -> Any:
    """Return what cannot be a result, or can just so."""
    loop: list[Any] = []
    loop.append(loop)
    return {
        "nan": float("nan"), "object": object(), "loop": loop, "surrogate": "\ud800", "bytes": b"\xff\x00",
        "large": "x" * 100_000, "nothing": None,
    }[what]  # fmt: skip


@job(result_bytes_max=1000)
def gives_much(length: int) -> str:
    return "x" * length


@job
def writes_file(text: str) -> File:
    return File(text.encode(), name="note.txt")


@job
def returns_path(path: str) -> Path:
    return Path(path)


@job
def upper(text: File) -> str:
    assert text.read_text() == Path(text).read_text()
    return f"{text.name} {text.type} {text.read_text().upper()}"


@job
def litters() -> list[str]:
    found = sorted(os.listdir("."))
    Path("left").mkdir()
    Path("left/over").write_text("x")
    return found


@job
def who() -> int:
    return os.getpid()


@job
def sleeps(begun: str, seconds: float) -> str:
    touch(begun)
    time.sleep(seconds)
    return "slept"


@job
def goes_on(begun: str, go: str) -> str:
    touch(begun)
    while not os.path.exists(go):
        time.sleep(0.01)
    return "went on"


@job
def naps(seconds: float, trace: str) -> None:
    """Leave a line for the start and one for the end."""
    fd = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"start\n")
    time.sleep(seconds)
    os.close(fd)


@job
def traced(trace: str, number: int) -> int:
    fd = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"%d\n" % number)
    os.close(fd)
    return number


@job
def cleans_up(begun: str, cleaned: str) -> None:
    touch(begun)
    try:
        time.sleep(60)
    finally:
        touch(cleaned)


@job
def checks(begun: str, ctx: Context) -> None:
    touch(begun)
    while True:
        ctx.check()
        time.sleep(0.01)


@job
def returns_when_told(begun: str, ctx: Context) -> str:
    touch(begun)
    while not ctx.canceled:
        time.sleep(0.01)
    return "partly done"


@job(timeout=0.3)
def too_slow_but_careful(ctx: Context) -> str:
    while not ctx.canceled:
        time.sleep(0.01)
    return "partly done"


@job(timeout=0.3, grace=0.5)
def holds_the_lock() -> None:
    """Spend hours inside one call of C that keeps the interpreter's lock."""
    re.match(r"(a+)+$", "a" * 64 + "b")


@job(timeout=60)
def holds_the_lock_a_while(begun: str) -> str:
    touch(begun)
    ctypes.PyDLL(None).usleep(800_000)
    return "back"


@job(timeout=0.3)
def sleeps_too_long() -> None:
    time.sleep(60)


@job(grace=0.5)
def ignores_everything(begun: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    touch(begun)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


@job(grace=0.5)
def leaves_a_daemon(begun: str, daemon: str) -> None:
    """Start a process that hides: forked twice, with a session of its own."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            touch(daemon)
            time.sleep(120)
        os._exit(0)
    os.wait()
    while not os.path.exists(daemon):
        time.sleep(0.01)
    touch(begun)
    time.sleep(120)


@job
def kills_itself(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


@job
def leaves(code: int) -> None:
    os._exit(code)


@job
def says_exit(code: int) -> None:
    sys.exit(code)


@job
def crashes_in_c() -> None:
    ctypes.string_at(0)


@job
def out_of_memory() -> None:
    raise MemoryError


@job(memory="200MB")
def eats(megabytes: int) -> int:
    return len(bytearray(megabytes * 2**20))


@job(memory="150MB")
def feeds_a_child() -> None:
    """Let processes of the job's own hold the memory: each may have as much as the limit, all together may not."""
    code = "import time; held = b'x' * (70 * 2**20); time.sleep(60)"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    for process in processes:
        process.wait()


@job
def prints(text: str) -> None:
    print(text)


@job
def speaks(name: str) -> None:
    """Say something in every way there is, in order."""
    print(name, "print")
    print(name, "error", file=sys.stderr)
    log.info("%s logging", name)
    os.write(1, f"{name} descriptor\n".encode())
    ctypes.CDLL(None).printf(b"%s printf\n", name.encode())
    subprocess.run([sys.executable, "-c", f"print('{name} process')"], check=True)
    log.debug("not shown")


@job
def floods(megabytes: int) -> str:
    print("the first line")
    line = b"x" * 1023 + b"\n"
    for _ in range(megabytes):
        os.write(1, line * 1024)
    print("the last line")
    return "done"


@job
def floods_from_c(lines: int) -> str:
    """Print with the interpreter's lock held, so that no thread of this process could read along."""
    library = ctypes.PyDLL(None)
    for _ in range(lines):
        library.puts(b"x" * 1000)
    return "done"


@job
def ruins_its_output() -> str:
    sys.stdout.close()
    sys.stderr = None
    os.close(2)
    return "done"


@job
def tells_progress(times: int, ctx: Context) -> str:
    for number in range(times):
        ctx.progress(number / times, f"step {number}")
    ctx.progress(1.0, "the end")
    return "done"


@job
def tells_progress_twice(ctx: Context, begun: str, go: str) -> None:
    ctx.progress(0.1)
    ctx.progress(0.2, "newest")
    touch(begun)
    while not os.path.exists(go):
        time.sleep(0.01)


@job
def speaks_after_its_end(ctx: Context) -> str:
    def speak() -> None:
        for _ in range(200):
            ctx.progress(0.5, "late")
            time.sleep(0.005)

    threading.Thread(target=speak, daemon=True).start()
    return "done"


@job
def describes_itself(ctx: Context) -> dict[str, Any]:
    ctx.log("a line")
    assert ctx.remaining_seconds is not None and ctx.deadline is not None
    return {"id": ctx.task_id, "attempt": ctx.attempt, "tags": dict(ctx.tags), "canceled": ctx.canceled}


@job
def counts(up_to: int) -> Iterator[int]:
    yield from range(up_to)


@job
def counts_slowly(begun: str, go: str) -> Iterator[int]:
    """Give the second value when it is told to."""
    yield 1
    touch(begun)
    while not os.path.exists(go):
        time.sleep(0.01)
    yield 2


@job
def sees_environment() -> list[str]:
    return [f"{name}={value}" for name, value in os.environ.items()]


@job
class Greets:
    """Built once in each process."""

    built = 0

    def __init__(self) -> None:
        Greets.built += 1

    def __call__(self, name: str) -> str:
        return f"hello {name}, {Greets.built} built in {os.getpid()}"
