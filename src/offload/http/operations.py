"""Queues, and how the node is: alive, ready."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from offload.engine.traffic import QueueView
from offload.http.call import Call
from offload.http.present import encode, json_answer
from offload.http.problems import NotReady


async def list_queues(call: Call) -> Response:
    return json_answer(encode({"queues": [_shown(queue) for queue in await call.engine.queues()]}))


async def get_queue(call: Call) -> Response:
    return await _queue(call)


async def pause_queue(call: Call) -> Response:
    """Stop claiming; accepting goes on."""
    await call.no_body()
    await call.engine.set_paused(call.parameters["queue"], True)
    return await _queue(call)


async def resume_queue(call: Call) -> Response:
    await call.no_body()
    await call.engine.set_paused(call.parameters["queue"], False)
    return await _queue(call)


async def is_alive(call: Call) -> Response:
    """The event loop turns; nothing else is asked."""
    return json_answer(encode({"status": "alive"}))


async def is_ready(call: Call) -> Response:
    """This node can accept tasks and work on them. Raise NotReady."""
    health = call.engine.health()
    if not health.ready:
        raise NotReady(health.checks)
    return json_answer(encode({"status": "ready", "checks": health.checks}))


async def _queue(call: Call) -> Response:
    return json_answer(encode(_shown(await call.engine.queue(call.parameters["queue"]))))


def _shown(queue: QueueView) -> Mapping[str, Any]:
    return {name: getattr(queue, name) for name in _FIELDS}


_FIELDS = tuple(field.name for field in msgspec.structs.fields(QueueView))
