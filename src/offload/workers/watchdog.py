"""The server's hold on its watchdog: a small process that ends the workers' processes when the server is killed."""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

from offload.workers import strays

log = logging.getLogger("offload.workers")

RESTARTS_MAX = 10


class Watchdog:
    """Keeps one running; it dies quietly with `stop`, and with a bite when the server goes without that."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._starts = 0

    def start(self) -> None:
        program = Path(strays.__file__)
        self._starts += 1
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(program), strays.NODE_MARK, self._node],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={}, cwd="/", start_new_session=True,
        )  # fmt: skip
        if hasattr(os, "pidfd_open"):
            self._pidfd = os.pidfd_open(self._process.pid)
            asyncio.get_running_loop().add_reader(self._pidfd, self._died)

    def stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        self._close_pidfd()
        assert process.stdin is not None
        try:
            process.stdin.write(strays.GOODBYE)
            process.stdin.close()
        except OSError:
            pass  # it died a moment ago
        process.kill()
        process.wait()

    def _died(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._close_pidfd()
        self._process.wait()
        self._process.stdin.close()
        self._process = None
        log.warning("the watchdog of the workers died")
        if self._starts < RESTARTS_MAX:
            try:
                self.start()
            except OSError as error:
                log.error("it cannot be started again: %s", error)

    def _close_pidfd(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
