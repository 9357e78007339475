"""Starts the server anew when a file changes; the listening socket stays open meanwhile, so that clients just wait."""

import asyncio
import contextlib
import importlib.util
import logging
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from watchfiles import DefaultFilter, awatch

from offload.core.errors import CannotLoadJobs
from offload.settings import Settings

INHERIT_FLAG = "--inherit-listener"
GRACE_SECONDS = 2.0
"""How long running tasks hold up a restart; then they are given back and start again with the new code."""
READY = b"offload serving at "

log = logging.getLogger("offload.reload")


async def supervise(argv: Sequence[str], settings: Settings, listener: socket.socket, output: TextIO) -> int:
    """Run the server in a process of its own until a signal comes; start it anew after each change."""
    where = watched(settings.jobs or settings.celery.partition(":")[0])
    listener.listen(1024)  # from here on a client is never refused, whoever serves
    command = [sys.executable, "-m", "offload", *_without_reload(argv), INHERIT_FLAG, str(listener.fileno())]
    command += ["--grace-seconds", str(min(settings.grace_seconds, GRACE_SECONDS))]
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    announced = False
    changes = awatch(where, watch_filter=_OnlyCode(settings.data), stop_event=stop, step=100)
    log.info("watching %s", where)
    while not stop.is_set():
        process = await asyncio.create_subprocess_exec(*command, pass_fds=(listener.fileno(),), stdin=PIPE, stdout=PIPE)
        speaking = asyncio.create_task(_forward(process, output, announced))
        changed = asyncio.create_task(anext(changes, None))
        exited = asyncio.create_task(process.wait())
        await asyncio.wait((changed, exited), return_when=asyncio.FIRST_COMPLETED)
        if not changed.done():
            log.error("the server has ended with exit code %d; it starts again after the next change", exited.result())
        with contextlib.suppress(StopAsyncIteration):
            if (found := await changed) and not stop.is_set():
                log.info("changed: %s", ", ".join(sorted({Path(path).name for _, path in found})))
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await exited
        announced = await speaking or announced
    return 0


def watched(jobs: str) -> Path:
    """Return the directory of the jobs. Raise CannotLoadJobs when there is none to watch."""
    path = Path(jobs).resolve()
    if jobs.endswith(".py") or path.is_file():
        if path.parent.is_dir():
            return path.parent
        raise CannotLoadJobs(f"there is no file {jobs}")
    sys.path.insert(0, str(Path.cwd()))
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(jobs)
        if spec is not None and spec.origin is not None:
            return Path(spec.origin).resolve().parent
    raise CannotLoadJobs(f"there is no module {jobs}")


class _OnlyCode(DefaultFilter):
    """Lets changes of Python files pass, and of what lies beside them, but not of what the server itself writes."""

    def __init__(self, data: Path) -> None:
        super().__init__(ignore_paths=[data.absolute()])

    def __call__(self, change: object, path: str) -> bool:
        return path.endswith(".py") and super().__call__(change, path)  # type: ignore[arg-type]


async def _forward(process: Process, output: TextIO, announced: bool) -> bool:
    """Pass on the address, once; a server that starts again has the same."""
    assert process.stdout is not None
    async for line in process.stdout:
        if not line.startswith(READY):
            continue
        if announced:
            log.info("serving again")
        else:
            print(line.decode().rstrip(), file=output, flush=True)
        announced = True
    return announced


def _without_reload(argv: Sequence[str]) -> list[str]:
    return [word for word in argv if word != "--reload"]
