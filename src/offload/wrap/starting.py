"""Puts a node and an application together: the plan that the workers follow, and the front over both."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.types import ASGIApp

from offload.compose import Node
from offload.core.errors import WrongSetting
from offload.http.config import HttpConfig
from offload.settings import Settings
from offload.wrap.apps.asgi import Lifespan
from offload.wrap.apps.jobs import Plan
from offload.wrap.apps.loaded import absolute, speaks_asgi
from offload.wrap.apps.routes import read_slow
from offload.wrap.front import Wrapped
from offload.wrap.threads import Threaded


def settings_for(settings: Settings, *, app: str = "", upstream: str = "") -> Settings:
    """Return the settings of a node that runs requests to an application or an upstream. Raise WrongSetting."""
    check_prefix(settings.prefix)
    plan = Plan(
        app=absolute(app) if app else "",
        upstream=upstream,
        slow=read_slow(settings.slow),
        workers=max(1, settings.workers),  # of a node without any this says nothing
        result_bytes_max=settings.result_bytes_max,
    )
    # the application itself is in this process and sees its whole environment; its workers get the same
    env = settings.child_env if "child_env" in settings.sources else ("*",)
    return dataclasses.replace(settings, jobs=plan.target, child_env=env)


def http_config(config: HttpConfig) -> HttpConfig:
    """Return the configuration of the HTTP server: answers of the application bring their own Date."""
    return msgspec.structs.replace(config, adds_date=False)


def front(node: Node, app: ASGIApp, config: HttpConfig) -> Wrapped:
    """Return the application with tasks, over a node that runs."""
    settings = node.settings
    return Wrapped(app, node, config, slow=read_slow(settings.slow), prefix=settings.prefix)


@asynccontextmanager
async def started(app: Any) -> AsyncIterator[ASGIApp]:
    """Start an application of either interface for direct requests, and give it as ASGI."""
    if not speaks_asgi(app):
        threaded = Threaded(app)
        try:
            yield threaded
        finally:
            threaded.close()
        return
    lifespan = Lifespan(app)
    await lifespan.start()
    try:
        yield _with_state(app, lifespan.state)
    finally:
        await lifespan.stop()


def check_prefix(prefix: str) -> None:
    """Raise WrongSetting for a prefix that is no path."""
    if prefix and (not prefix.startswith("/") or prefix.endswith("/") or "//" in prefix or "%" in prefix):
        raise WrongSetting(f"prefix {prefix!r}: write a path without a slash at its end, as in /offload")


def _with_state(app: Any, state: dict[str, Any]) -> ASGIApp:
    async def called(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state)} if state else scope, receive, send)

    return called
