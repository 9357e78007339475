"""Claims tasks; of those whose claim was long in being answered, only the ones that nobody has taken back meanwhile."""

import logging
from collections.abc import Sequence

import msgspec

from offload.core.errors import TryAgain
from offload.core.task import Task
from offload.engine.parts import Parts
from offload.ports import Ask

log = logging.getLogger("offload.claims")


async def claim(parts: Parts, asks: Sequence[Ask], *, node: str) -> list[Task]:
    """Take tasks for `node`. A commit that was in doubt is answered when the database is back, however late that is."""
    timing, clock = parts.timing, parts.clock
    now = clock.now()
    claimed = await parts.store.claim(asks, node=node, now=now, lease_until=now + timing.lease_seconds)
    late_seconds = clock.now() - now
    if not claimed or late_seconds <= timing.heartbeat_seconds:
        return claimed
    lease_until = clock.now() + timing.lease_seconds
    try:
        renewals = await parts.store.renew(claimed, lease_until=lease_until)
    except TryAgain:
        return claimed  # as attempts go on that run while the store is away
    ours = [
        msgspec.structs.replace(task, lease_until=lease_until)
        for task, renewal in zip(claimed, renewals, strict=True)
        if renewal.held
    ]
    log.warning("a claim took %.0f s; %d of its %d tasks are ours still", late_seconds, len(ours), len(claimed))
    return ours
