"""Why a worker process died, and what that means for the attempts that were in it."""

import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from offload.core.outcome import Failed, Outcome
from offload.core.task import Reason, TaskError
from offload.workers import strays
from offload.workers.attempts import Attempt
from offload.workers.process import Exit


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """What is known of the end of a process."""

    exit: Exit
    oom_killed: bool
    started: int
    """The newest ticket that it had begun."""
    stepping: int
    """The ticket whose code ran at that moment, where many run at once; 0: not known."""

    @property
    def told(self) -> str:
        """The cause in the words that help its user."""
        code, peak = self.exit.code, self.exit.peak_bytes
        how = f"exited with code {code} without a result" if code >= 0 else f"was killed by {_signal_name(-code)}"
        if self.oom_killed:
            how += ", most likely by the kernel because memory ran out"
        memory = f"; its peak memory was {peak / 2**20:,.0f} MiB" if peak is not None else ""
        return f"the worker process {how}{memory}"

    def outcome(self, attempt: Attempt, left: Sequence[Attempt]) -> Outcome:
        """Return what the death means for one of the attempts that were `left` in the process."""
        if attempt.ticket > self.started:
            return attempt.unrun()
        if attempt.stop is not None:
            return attempt.stopped()
        suspected = self.stepping in (0, attempt.ticket) or all(other.ticket != self.stepping for other in left)
        message = self.told if suspected else f"{self.told}, in the code of another task"
        reason = Reason.OUT_OF_MEMORY if self.oom_killed else Reason.WORKER_LOST
        return Failed(reason=reason, error=TaskError(type="WorkerLost", message=message), worker_died=suspected)


class OomKills:
    """Counts what the kernel killed for want of memory, here and in our cgroup (version 1 and 2)."""

    def __init__(self, files: Sequence[Path] | None = None) -> None:
        self._files = _oom_files() if files is None else files
        self._seen = self._read()

    def more(self) -> bool:
        """Tell whether the kernel killed something since the last look."""
        now = self._read()
        grown = any(count > self._seen.get(path, 0) for path, count in now.items())
        self._seen |= now  # what could not be read this time has not begun anew
        return grown

    def _read(self) -> dict[Path, int]:
        counts = {}
        for path in self._files:
            try:
                for line in path.read_text().splitlines():
                    name, _, value = line.partition(" ")
                    if name == "oom_kill":
                        counts[path] = int(value)
            except (OSError, ValueError):
                continue
        return counts


def _oom_files() -> list[Path]:
    files = [Path("/proc/vmstat")]
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return files
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            files.append(Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            files.append(Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control")
    return files


def remove_traces(child_name: str, scratch: Path, untold: Sequence[Path]) -> None:
    """End what a dead process left running and remove its files. Blocks."""
    strays.kill_marked(strays.CHILD_MARK, child_name)
    for path in untold:
        path.unlink(missing_ok=True)
    if scratch.is_dir():
        shutil.rmtree(scratch, ignore_errors=True)


def over_memory(*, used_bytes: int, limit_bytes: int) -> TaskError:
    """Say that a worker process was ended for its memory."""
    return TaskError(
        type="OutOfMemory",
        message=f"the worker process held {used_bytes / 2**20:,.0f} MiB; its limit is {limit_bytes / 2**20:,.0f} MiB",
    )


def cut_off(why: str) -> TaskError:
    """Say that a worker process was ended because nothing can be heard of it."""
    return TaskError(type="WorkerLost", message=f"the worker process was ended, because {why}")


def _signal_name(number: int) -> str:
    names = {signal.SIGSEGV: "a segmentation fault", signal.SIGABRT: "an abort", signal.SIGBUS: "a bus error"}
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    why = names.get(known)
    return f"{known.name} ({why})" if why else known.name
