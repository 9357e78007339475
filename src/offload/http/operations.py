"""Queues, and how the node is: alive, ready."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from offload.engine.traffic import QueueView
from offload.http.call import Call
from offload.http.present import encode, json_answer
from offload.http.problems import NotReady
from offload.ports import Depth


async def list_queues(call: Call) -> Response:
    return json_answer(encode({"queues": await queues_shown(call, await call.engine.queues())}))


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
    checks = health.checks
    if not call.admin:  # to strangers only that there is trouble, not what it is
        checks = {name: said if said in ("ok", "stopping", "full") else "trouble" for name, said in checks.items()}
    if not health.ready:
        raise NotReady(checks)
    return json_answer(encode({"status": "ready", "checks": checks}))


async def _queue(call: Call) -> Response:
    (shown,) = await queues_shown(call, [await call.engine.queue(call.parameters["queue"])])
    return json_answer(encode(shown))


async def queues_shown(call: Call, queues: Sequence[QueueView]) -> list[Mapping[str, Any]]:
    """Return queues; whoever is no admin is told of no tasks but their own."""
    if not call.admin:
        own = {depth.queue: depth for depth in await call.keyring.depths(call.owner)}
        queues = [_own(queue, own.get(queue.name, Depth(queue=queue.name, job=""))) for queue in queues]
    return [{name: getattr(queue, name) for name in _FIELDS} for queue in queues]


def _own(queue: QueueView, depth: Depth) -> QueueView:
    return msgspec.structs.replace(
        queue,
        tasks=depth.queued + depth.running,
        queued=depth.queued,
        ready=depth.ready,
        running=depth.running,
        bytes=depth.bytes,
        oldest_wait_seconds=None,
        arrivals_per_second=None,
        completions_per_second=None,
    )


_FIELDS = tuple(field.name for field in msgspec.structs.fields(QueueView))
