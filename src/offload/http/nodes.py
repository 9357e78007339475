"""The nodes that share the store, as they said themselves a moment ago."""

from typing import Any

from starlette.responses import Response

from offload.engine.engine import Engine
from offload.http.call import Call
from offload.http.present import encode, json_answer, rfc3339
from offload.ports.nodes import NodeState


async def list_nodes(call: Call) -> Response:
    """Every node that was seen in the last hour; `present` tells which may be counted on."""
    return json_answer(encode({"nodes": await nodes_shown(call.engine)}))


async def nodes_shown(engine: Engine) -> list[dict[str, Any]]:
    present = {engine.parts.node, *(node.name for node in engine.roll.others())}
    return [_shown(node, node.name in present) for node in await engine.roll.all()]


def _shown(node: NodeState, present: bool) -> dict[str, Any]:
    return {
        "name": node.name,
        "version": node.version,
        "present": present,
        "started_at": rfc3339(node.started_at),
        "seen_at": rfc3339(node.seen_at),
        "serves": node.serves,
        "stopping": node.stopping,
        "workers": node.workers,
        "running": node.running,
        "jobs": node.jobs,
        "queues": node.queues,
        "looked_at": None if node.looked_at is None else rfc3339(node.looked_at),
        "completions_per_second": sum(node.completions_per_second.values()),
    }
