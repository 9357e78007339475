"""How a node is: whether it can accept and work, and what it says of itself to other nodes."""

import asyncio

from offload.core.task import Record, Seconds
from offload.engine.dispatcher import Dispatcher
from offload.engine.gate import Gate
from offload.engine.parts import Parts
from offload.engine.roll import Roll
from offload.engine.upkeep import Reaper
from offload.ports.nodes import NodeState


class Health(Record, frozen=True, kw_only=True):
    ready: bool
    checks: dict[str, str]


class BrokerState(Record, frozen=True, kw_only=True):
    trouble: str | None
    reconnects: int


class Condition:
    """Asks the agents of a node; changes nothing."""

    def __init__(
        self, parts: Parts, gate: Gate, dispatcher: Dispatcher, reaper: Reaper, stopping: asyncio.Event
    ) -> None:
        self._parts = parts
        self._gate = gate
        self._dispatcher = dispatcher
        self._reaper = reaper
        self._stopping = stopping
        self._started_at: Seconds | None = None

    def health(self, roll: Roll) -> Health:
        """Tell whether this node can accept and work, and what each part says."""
        works = bool(self._parts.workers.workers()) or roll.somebody_works()
        works = works or all(job.external for job in self._parts.catalog)
        checks = {
            "node": "stopping" if self._stopping.is_set() else "ok",
            "disk": "full" if self._gate.disk_is_full else "ok",
            "workers": "ok" if works else "none running",
            "store": self._reaper.trouble or "ok",
        }
        if elsewhere := roll.with_other_files():
            checks["files"] = f"node {elsewhere[0]} has its files elsewhere: start all nodes with the same --blobs"
        ready = all(said == "ok" for said in checks.values())
        if self._parts.broker is not None:  # without it everything goes on, a little later
            checks["broker"] = self._dispatcher.broker_trouble() or "ok"
        return Health(ready=ready, checks=checks)

    def broker(self) -> BrokerState | None:
        """Return how the broker is, None when there is none."""
        if self._parts.broker is None:
            return None
        return BrokerState(trouble=self._dispatcher.broker_trouble(), reconnects=self._parts.broker.reconnects)

    def state(self) -> NodeState:
        """Return what this node says of itself."""
        parts, jobs = self._parts, self._dispatcher.jobs()
        arrivals, completions = parts.traffic.own_rates()
        now = parts.clock.now()
        self._started_at = self._started_at or now
        return NodeState(
            name=parts.node,
            version=parts.version,
            started_at=self._started_at,
            seen_at=now,
            serves=parts.serves,
            stopping=self._stopping.is_set(),
            jobs=tuple(sorted(jobs)),
            queues=tuple(sorted({parts.catalog.find(job).queue for job in jobs})),
            workers=len(parts.workers.workers()),
            running=self._dispatcher.held(),
            files_at=parts.files_at,
            looked_at=self._dispatcher.looked_at(),
            arrivals_per_second=arrivals,
            completions_per_second=completions,
            run_seconds=parts.traffic.own_run_seconds(),
        )
