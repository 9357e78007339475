"""What every request to a wrapped application meets first: it is ours, it becomes a task, or it passes through."""

from collections.abc import Sequence
from email.utils import formatdate

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from offload.compose import Node
from offload.http.access import Guard
from offload.http.app import ROUTES, router_of
from offload.http.call import Call
from offload.http.config import HttpConfig
from offload.http.front import Endpoint, Front
from offload.http.prefer import read_preferences
from offload.http.problems import RouteDoesNotExist, WrongRequest
from offload.ports import Clock
from offload.wrap import storing
from offload.wrap.apps.routes import ALWAYS_DIRECT, REQUEST, Slow, slow_job

TASKS = "/v1/tasks"
_CREATES = {
    "/v1/jobs/{job}": "POST", "/v1/tasks": "POST", "/v1/tasks/batch": "POST", "/v1/tasks/{id}": "PUT",
    "/v1/files": "POST", "/v1/leases": "POST",
}  # fmt: skip
"""Left out: a task is made by a request to the application only, past whatever guards it."""


class Wrapped:
    """The ASGI application: the wrapped one, with tasks."""

    def __init__(
        self, app: ASGIApp, node: Node, config: HttpConfig, *, slow: Sequence[Slow] = (), prefix: str = ""
    ) -> None:
        engine, keyring = node.engine, node.keyring
        self._app = app
        self._slow = tuple(slow)
        self._prefix = prefix
        self._clock: Clock = engine.clock
        self._adds_date = not config.adds_date
        config = msgspec.structs.replace(config, prefix=prefix)
        guard = Guard(config, engine.clock)
        router = router_of(_own_routes(), guard)
        self._own = Front(router, engine, config, keyring=keyring, guard=guard, submit=_no_submit)
        self._requests = _Requests(router, engine, config, keyring=keyring, guard=guard, submit=storing.submit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send = self._complete(send)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._is_ours(path):
            await self._own(self._inside(scope), receive, send)
        elif (job := self._job_for(scope, path)) is not None:
            await self._requests({**scope, "offload.job": job}, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_ours(self, path: str) -> bool:
        home = self._prefix or TASKS
        return path == home or path.startswith(home + "/")

    def _inside(self, scope: Scope) -> Scope:
        """Return the scope as our own routes know it, without the prefix."""
        root = scope.get("root_path", "") + self._prefix
        path = scope["path"].removeprefix(root)
        if not self._prefix and path.startswith(TASKS + "/client"):  # which no id of a task starts with
            path = path.removeprefix(TASKS)  # /client.js itself is the application's
        return {**scope, "root_path": "", "path": path or "/"}

    def _job_for(self, scope: Scope, path: str) -> str | None:
        """Return the job that a request becomes a task of, None when it passes through."""
        names = {name for name, _ in scope["headers"]}
        if b"transfer-encoding" in names and b"content-length" in names:
            return REQUEST  # which refuses it
        if scope["method"] in ALWAYS_DIRECT:
            return None
        if (job := slow_job(self._slow, scope["method"], path)) is not None:
            return job
        wishes = b", ".join(value for name, value in scope["headers"] if name == b"prefer")
        return REQUEST if wishes and read_preferences(wishes.decode("latin-1"), 0).respond_async else None

    def _complete(self, send: Send) -> Send:
        """Return a `send` that adds the date to answers that have none, which the HTTP server leaves to us."""

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, value) for name, value in message.get("headers", ())]
                if message["status"] in (204, 304):  # there is no body, whatever is said of its length
                    headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
                if self._adds_date and not any(name.lower() == b"date" for name, _ in headers):
                    headers.insert(0, (b"date", formatdate(self._clock.now(), usegmt=True).encode()))
                message = {**message, "headers": headers}
            await send(message)

        return complete


class _Requests(Front):
    """Takes requests that become tasks. Who sends them, and to which name, is for the application to judge.

    A key of ours makes its owner the task's; once there are keys, admins read those of everybody else.
    """

    kind_of_call = storing.RequestCall

    async def _respond(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        if b"transfer-encoding" in call.fields and b"content-length" in call.fields:
            raise WrongRequest("the length of the body is told in two ways")
        call.route = "request"
        if self._keyring.locked:
            self._guard.recognise(call)
        call.parameters = {"job": scope["offload.job"]}
        await call.answer(await self._submit(call))


def _own_routes() -> dict[str, dict[str, Endpoint]]:
    kept = {
        path: {method: endpoint for method, endpoint in methods.items() if _CREATES.get(path) != method}
        for path, methods in ROUTES.items()
    }
    return {path: methods for path, methods in kept.items() if methods}


async def _no_submit(call: Call) -> Response:
    raise RouteDoesNotExist(call.path)
