"""What is called for a job: its function, or the one instance of its class that this process builds."""

from collections.abc import Callable
from typing import Any

from offload.core.job import Job


class Callables:
    """Builds each class once, when it is first needed."""

    def __init__(self) -> None:
        self._built: dict[str, Callable[..., Any]] = {}

    def of(self, job: Job) -> Callable[..., Any]:
        found = self._built.get(job.name)
        if found is None:
            target: Any = job.target
            found = self._built[job.name] = target() if job.is_class else target
        return found
