"""A progress bar on the terminal, fed by what a wait hears."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from offload.client.replies import TaskState
from offload.core.plain import plain_text


class ProgressBar:
    """A listener that draws, on standard error so that output stays clean; and only where there is a terminal."""

    def __init__(self, title: str) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}"),
            console=Console(file=sys.stderr),
            transient=True,
        )
        self._row = self._bar.add_task(escape(title), total=None, doing="")

    def __enter__(self) -> Self:
        if self._bar.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar.console.is_terminal:  # elsewhere it was not started, and stopping would print an empty line
            self._bar.stop()

    def __call__(self, state: TaskState) -> None:
        fraction = None if state.progress is None else state.progress.fraction
        self._bar.update(
            self._row,
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
            doing=escape(plain_text(_doing(state))),
        )


def _doing(state: TaskState) -> str:
    if state.status == "QUEUED":
        ahead = "" if state.position is None else f", {state.position} ahead"
        return f"waiting{ahead}" + ("" if state.eta_seconds is None else f", about {state.eta_seconds:.0f} s")
    if state.status == "RUNNING":
        return state.progress.message if state.progress is not None and state.progress.message else "running"
    return state.status.lower()
