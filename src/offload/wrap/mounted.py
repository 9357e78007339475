"""`offload.wrap.asgi`: tasks inside one's own deployment; the node lives as long as the lifespan of the server."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from offload import compose
from offload.core.errors import WrongSetting
from offload.settings import load_settings
from offload.wrap import starting
from offload.wrap.apps.loaded import speaks_asgi
from offload.wrap.apps.routes import read_slow
from offload.wrap.front import Wrapped


class Mounted:
    """An ASGI application over another one, with a node of its own."""

    def __init__(
        self, app: Any, *, slow: Sequence[str], prefix: str | None, target: str | None, settings: Mapping[str, Any]
    ) -> None:
        if not speaks_asgi(app):
            raise WrongSetting("offload.wrap.asgi takes an ASGI application; for WSGI there is `offload wrap`")
        read_slow(slow)  # so that a mistake in it is told where it was made
        starting.check_prefix(prefix or "")
        self.wrapped_app = app
        self._target = target
        self._flags = {name: _text(value) for name, value in settings.items()}
        self._flags |= {"slow": _text(slow)} if slow else {}
        self._flags |= {"prefix": prefix} if prefix else {}
        self._front: Wrapped | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._front is None:
            raise WrongSetting(
                "offload.wrap.asgi was not started: make it the application that the server calls, with its lifespan on"
            )
        else:
            await self._front(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as stack:
            await receive()
            try:
                await self._start(stack)
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self, stack: AsyncExitStack) -> None:
        settings = load_settings(flags=self._flags, environ=os.environ, cwd=Path.cwd())
        settings = starting.settings_for(settings, app=self._target or self._found())
        node = await stack.enter_async_context(compose.node(settings, os.environ))
        app = await stack.enter_async_context(starting.started(self.wrapped_app))
        self._front = starting.front(node, app, node.http)

    def _found(self) -> str:
        """Return where a worker finds this object: the module that holds it. Raise WrongSetting."""
        for name, module in list(sys.modules.items()):
            for attribute, value in list(getattr(module, "__dict__", {}).items()):
                if value is self:
                    file = getattr(module, "__file__", None)
                    return f"{file if name == '__main__' and file else name}:{attribute}"
        raise WrongSetting(
            "workers import the application, and no module holds it: say where it is, as in target='shop.web:app'"
        )


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
