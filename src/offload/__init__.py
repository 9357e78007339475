"""Turns slow functions into dependable HTTP services: mark them with `@job`, serve the file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offload.client import AsyncClient as AsyncClient
    from offload.client import Client as Client
    from offload.core.errors import Canceled as Canceled
    from offload.core.errors import OffloadError as OffloadError
    from offload.core.errors import Reject as Reject
    from offload.core.errors import RetryLater as RetryLater
    from offload.core.files import File as File
    from offload.core.job import job as job
    from offload.core.retry import Retry as Retry
    from offload.workers.context import Context as Context

# Nothing is imported before it is asked for: a worker never loads an HTTP library, and `--help` never loads pydantic.
_HOMES = {
    "AsyncClient": "offload.client",
    "Client": "offload.client",
    "Context": "offload.workers.context",
    "File": "offload.core.files",
    "Retry": "offload.core.retry",
    "job": "offload.core.job",
}
_ERRORS = ("Canceled", "OffloadError", "Reject", "RetryLater")

__all__ = ["AsyncClient", "Client", "Context", "File", "Retry", "job", *_ERRORS]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    value = None
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif not name.startswith("_"):
        found = getattr(import_module("offload.core.errors"), name, None)
        value = found if isinstance(found, type) and issubclass(found, Exception) else None
    if value is None:
        raise AttributeError(f"module 'offload' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
