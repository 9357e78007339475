"""How the whole node does, in one answer and as one stream: what the dashboard shows."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import msgspec
from starlette.responses import Response

from offload.core.errors import TooManyStreams
from offload.core.history import KEPT_SECONDS, STEP_SECONDS
from offload.core.promises import tables
from offload.core.task import Seconds
from offload.http.call import Call
from offload.http.events import EventAnswer
from offload.http.feeds import Feed, Told, event_lines
from offload.http.nodes import nodes_shown
from offload.http.operations import queues_shown
from offload.http.present import encode, json_answer, rfc3339

QUIET_BEATS = 15
"""So many looks without news, and the stream gives a sign of life."""


async def get_overview(call: Call) -> Response:
    """Queues, workers, callbacks and the last hour, at this moment."""
    response = json_answer(encode({**await _now(call), "history": await _history(call)}))
    response.raw_headers.append((b"cache-control", b"no-store"))
    return response


async def get_overview_events(call: Call) -> Response:
    """`overview` whenever something moved, `history` every ten seconds, `callbacks` when lists of them did."""
    if call.stats.streams >= call.config.streams_max:
        raise TooManyStreams(f"{call.config.streams_max:,} event streams are open already", retry_seconds=5)
    response = EventAnswer(call, _follow(call))
    if call.method == "HEAD":
        plain = Response(status_code=200)
        plain.raw_headers[:] = response.raw_headers
        return plain
    return response


async def get_promises(call: Call) -> Response:
    """What this node promises: what a 202 means, when lost work comes back, the order, the limits."""
    return json_answer(encode({**msgspec.structs.asdict(call.config.promises), **tables()}))


async def _follow(call: Call) -> AsyncGenerator[bytes, None]:
    moves = call.engine.callbacks.moves
    told, moved, quiet = Told(), moves.number, 0
    feed_of = partial(Feed, call.engine, now=partial(_now, call), history=partial(_history, call))
    with call.feeds.watched(call.sees, feed_of) as feed:
        while await feed.next(told) and _may_still(call):
            news = feed.news(told)
            if (some := moves.since(moved, call.sees)) is not None:
                news += event_lines("callbacks", encode({"tasks": None if some.tasks is None else sorted(some.tasks)}))
            moved = moves.number
            if news:
                quiet = 0
                yield news
            elif (quiet := quiet + 1) >= QUIET_BEATS:
                quiet = 0
                yield b": still here\n\n"


async def _now(call: Call) -> dict[str, Any]:
    engine = call.engine
    found: dict[str, Any] = {
        "changes": engine.stats.changes,
        "queues": await queues_shown(call, await engine.queues()),
        "jobs": [{"name": job.name, "queue": job.queue} for job in engine.catalog.jobs.values()],
    }
    if call.admin:
        health = engine.health()
        found["ready"] = health.ready
        found["checks"] = health.checks
        found["workers"] = [
            {
                "pid": worker.pid,
                "lane": worker.lane,
                "tasks": worker.tasks,
                "busy_seconds": round(worker.busy_seconds),
                "memory_bytes": _rounded(worker.memory_bytes),
                "tasks_done": worker.tasks_done,
            }
            for worker in engine.workers()
        ]
        found["worker_deaths"] = engine.stats.worker_deaths
        found["callback_hosts_failing"] = await engine.callbacks.failing_hosts()
        if not engine.parts.ringer.alone:
            found["nodes"] = await nodes_shown(engine)
    return found


def _may_still(call: Call) -> bool:
    """Tell whether the key under which a stream began is valid still."""
    holder = None if call.key is None else call.keyring.holder(call.key.id)
    if holder is None:
        return not call.keyring.locked
    return call.keyring.over(holder) is None


def _rounded(size: int) -> int:
    """Return a size in steps of 1 MiB: smaller changes are no news."""
    return size >> 20 << 20


async def _history(call: Call) -> dict[str, Any]:
    """Return the last hour by queue; only admins are told what everybody did."""
    samples = await call.engine.pulse.history() if call.admin else []
    queues: dict[str, list[list[Seconds | int | str | None]]] = {}
    for sample in samples:
        queues.setdefault(sample.queue, []).append(
            [sample.at, sample.arrivals, sample.done, sample.failed, sample.queued, sample.running]
        )
    return {
        "now": rfc3339(call.engine.clock.now()),
        "until": call.engine.clock.now(),
        "step_seconds": STEP_SECONDS,
        "kept_seconds": KEPT_SECONDS,
        "columns": ["at", "arrivals", "done", "failed", "queued", "running"],
        "queues": queues,
    }
