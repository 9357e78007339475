"""Ends processes that a worker process left behind, wherever they hid: by group, and by a mark in their environment.

Also a program of its own, with the standard library only: the watchdog that outlives a killed server.
"""

import os
import signal
import sys

CHILD_MARK = "OFFLOAD_CHILD"
NODE_MARK = "OFFLOAD_NODE"
GOODBYE = b"bye"
SWEEPS_MAX = 20


def kill_group(pid: int) -> None:
    """Kill the process group that a worker process leads."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def kill_marked(name: str, value: str) -> int:
    """Kill every process that inherited this variable, until none is found; return how many it were. Blocks."""
    wanted = f"{name}={value}".encode()
    killed: set[int] = set()
    for _ in range(SWEEPS_MAX):
        found = [pid for pid in _processes() if pid not in killed and _has(pid, wanted)]
        if not found:
            break
        for pid in found:
            killed.add(pid)
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
    return len(killed)


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
    except OSError:
        return []


def _has(pid: int, wanted: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return wanted in file.read().split(b"\0")
    except OSError:
        return False  # gone, or not ours


def watch() -> None:
    """Wait until the server's end of standard input closes; then kill its processes, unless it said goodbye."""
    said = b""
    while data := os.read(0, 64):
        said += data
    if GOODBYE not in said:
        kill_marked(sys.argv[1], sys.argv[2])


if __name__ == "__main__":
    watch()
