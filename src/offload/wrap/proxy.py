"""The upstream as an ASGI application: direct requests are passed on while they arrive, and so are their answers."""

import aiohttp
from starlette.types import Receive, Scope, Send

from offload.http.problems import problem
from offload.wrap.apps.messages import end_to_end
from offload.wrap.apps.upstream import Upstream, UpstreamUnreachable, fields_of
from offload.wrap.heads import has_body, head_of
from offload.wrap.presence import Presence


class Proxied:
    """Passes direct requests on to one upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        if scope["type"] == "http":
            presence = Presence(receive, has_body=has_body(scope))
            await presence.while_here(self._pass_on(scope, presence, receive, send))

    async def _pass_on(self, scope: Scope, presence: Presence, receive: Receive, send: Send) -> None:
        answered = False
        try:
            async with self._upstream.exchange(
                head_of(scope), presence.chunks() if has_body(scope) else None
            ) as answer:
                answered = True
                await _tell(answer, send)
        except UpstreamUnreachable as error:
            if answered:
                raise  # the server breaks the connection: the client sees that it is not whole
            await problem(error)(scope, receive, send)


async def _tell(answer: aiohttp.ClientResponse, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in end_to_end(fields_of(answer))]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async for chunk in answer.content.iter_any():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
