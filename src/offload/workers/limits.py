"""What a worker process may use of the machine; applied by itself."""

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
OOM_SCORE_ADJUSTMENT = 300
"""When memory runs out, the kernel should take a child, not the server."""


def die_with(parent_pid: int) -> None:
    """Make the kernel kill this process when the one that started it is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)  # it went before we asked


def restrict(*, nice: int, memory_bytes: int | None) -> None:
    """Apply the limits of this process for its whole life."""
    _set_soft(resource.RLIMIT_CORE, 0)
    if memory_bytes is not None:
        _set_soft(resource.RLIMIT_DATA, memory_bytes)
    try:
        os.nice(nice)
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJUSTMENT))
    except OSError:
        pass  # a convenience where the system allows it


def restrict_attempt(memory_bytes: int | None) -> int:
    """Limit what this process may allocate from now on; return the limit before, to be put back the same way."""
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = resource.RLIM_INFINITY if memory_bytes is None or memory_bytes < 0 else memory_bytes
    if wanted != before:
        _set_soft(resource.RLIMIT_DATA, wanted)
    return before


def _set_soft(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY and (value > hard or value == resource.RLIM_INFINITY):
        value = hard
    resource.setrlimit(which, (value, hard))


def memory_held_bytes() -> int:
    """Return the resident memory of this process."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT_BYTES


_MAXRSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def memory_of_bytes(pid: int) -> int:
    """Return the resident memory of another process, 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
