"""Existing web applications, made asynchronous: `offload.wrap.asgi` for one's own deployment."""

from collections.abc import Sequence
from typing import Any

__all__ = ["asgi"]


def asgi(
    app: Any, *, slow: Sequence[str] = (), prefix: str | None = None, target: str | None = None, **settings: Any
) -> Any:
    """Return an ASGI application that serves `app` as it is and runs its slow requests as tasks.

    `slow` are globs such as "/transcribe", "POST /render/*" and "/report=2" (two at a time); requests with
    `Prefer: respond-async` become tasks on every route. Workers import `target` ("module:attribute"), found by itself
    when the returned application is an attribute of a module. `settings` are those of `offload serve`, as in
    `data="/var/lib/shop"`. It starts with the lifespan of the server, in one process. Raise WrongSetting.
    """
    # a worker process imports the user's module, and so this one: what only a server needs is loaded in a server
    from offload.wrap.mounted import Mounted

    return Mounted(app, slow=slow, prefix=prefix, target=target, settings=settings)
