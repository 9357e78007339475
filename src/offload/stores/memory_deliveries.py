"""Callbacks to send, in memory: the reference that every other store is compared with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from offload.core.callback import Delivery, DeliveryState, replayed
from offload.core.signing import Secret
from offload.core.task import Scope, Seconds
from offload.ports.callbacks import FAILURES_MAX, DeliveryFilter, Lines, Settlement, Standing, Taken

CLAIM_MAX = 100


@dataclass(slots=True)
class _Host:
    standing: Standing = Standing.NEW
    failures: int = 0
    due_at: Seconds | None = None
    """Its place in line: nothing of it is due before."""


class MemoryDeliveries:
    """Keep every promise of DeliveryStore except durability."""

    def __init__(self) -> None:
        self._found: dict[str, Delivery] = {}
        self._hosts: dict[str, _Host] = {}
        self._secrets: dict[str, list[Secret]] = {}
        self._last_key = 0
        self._ring: Callable[[], None] = lambda: None

    def add(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if delivery.type == "task.progress":
                of_task = [each for each in self._found.values() if _is_progress_of(each, delivery.task_id)]
                for each in of_task:
                    if each.state is not DeliveryState.PENDING:
                        del self._found[each.id]
                if any(_waits(each) for each in of_task):
                    continue
            if delivery.id in self._found:
                continue
            self._last_key += 1
            self._found[delivery.id] = msgspec.structs.replace(delivery, key=self._last_key)
            self._enter(delivery.host, delivery.due_at)
        if deliveries:
            self._ring()

    def forget(self, task_id: str) -> None:
        for delivery in [each for each in self._found.values() if each.task_id == task_id]:
            del self._found[delivery.id]

    def listen(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    async def claim(self, lines: Lines, *, now: Seconds, lease_until: Seconds) -> list[Taken]:
        for each in list(self._found.values()):
            if each.lease_until is not None and each.lease_until <= now:
                self._found[each.id] = msgspec.structs.replace(each, lease_until=None)
                self._enter(each.host, now)
        taken: list[Taken] = []
        for standing in Standing:
            room = min(lines.room.get(standing, 0), CLAIM_MAX - len(taken))
            for host in self._line(standing, now):
                most = min(room, room_of(lines, host, standing))
                if most > 0:
                    mine = [
                        Taken(delivery=each, standing=standing) for each in self._take(host, most, now, lease_until)
                    ]
                    taken += mine
                    room -= len(mine)
        return taken

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        return [self._settle(one) for one in settlements]

    async def next_due(self, now: Seconds) -> Seconds | None:
        times = [host.due_at for host in self._hosts.values()]
        times += [each.lease_until for each in self._found.values()]
        return min((time for time in times if time is not None and time > now), default=None)

    async def find(self, scope: Scope, wanted: DeliveryFilter) -> list[Delivery]:
        newest_first = sorted(self._found.values(), key=lambda each: -each.key)
        return [
            each
            for each in newest_first
            if scope.owner in (None, each.owner)
            and wanted.task_id in (None, each.task_id)
            and wanted.state in (None, each.state)
            and (wanted.before_key is None or each.key < wanted.before_key)
        ][: wanted.limit]

    async def replay(self, scope: Scope, delivery_id: str, *, now: Seconds) -> Delivery | None:
        found = self._found.get(delivery_id)
        if found is None or scope.owner not in (None, found.owner):
            return None
        again = self._found[delivery_id] = replayed(found, now)
        if again is not found:
            self._enter(again.host, now)
            self._ring()
        return again

    async def failing_hosts(self) -> int:
        return sum(host.standing is Standing.FAILING for host in self._hosts.values())

    async def secrets(self, owner: str) -> list[Secret]:
        return list(self._secrets.get(owner, ()))

    async def add_secret(self, secret: Secret) -> None:
        self._secrets.setdefault(secret.owner, [secret])

    async def rotate_secret(self, secret: Secret, *, until: Seconds) -> None:
        earlier = self._secrets.get(secret.owner, [])[:1]
        self._secrets[secret.owner] = [secret, *(msgspec.structs.replace(one, until=until) for one in earlier)]

    def _line(self, standing: Standing, now: Seconds) -> list[str]:
        due = [
            (host.due_at, name)
            for name, host in self._hosts.items()
            if host.standing is standing and host.due_at is not None and host.due_at <= now
        ]
        return [name for _, name in sorted(due)]

    def _take(self, host: str, most: int, now: Seconds, lease_until: Seconds) -> list[Delivery]:
        line = sorted(
            (each for each in self._found.values() if each.host == host and _waits(each)),
            key=lambda each: (each.due_at, each.key),
        )
        taken = [
            msgspec.structs.replace(each, lease_until=lease_until, tries=each.tries + 1)
            for each in line[:most]
            if each.due_at <= now
        ]
        self._found.update((each.id, each) for each in taken)
        rest = line[len(taken) :]
        self._hosts[host].due_at = max(now, rest[0].due_at) if rest else None
        return taken

    def _settle(self, one: Settlement) -> bool:
        found = self._found.get(one.before.id)
        if found is None or found.lease_until is None or found.tries != one.before.tries:
            return False
        self._found[found.id] = msgspec.structs.replace(
            found, state=one.after.state, step=one.after.step, due_at=one.after.due_at, last=one.after.last,
            lease_until=None,
        )  # fmt: skip
        host = self._hosts.setdefault(found.host, _Host())
        if one.worked is True:
            host.standing, host.failures = Standing.WORKS, 0
        elif one.worked is False:
            host.failures += 1
            if host.standing is not Standing.WORKS or host.failures >= FAILURES_MAX:
                host.standing = Standing.FAILING
        if one.after.state is DeliveryState.PENDING:
            self._enter(found.host, one.after.due_at)
        return True

    def _enter(self, name: str, due_at: Seconds) -> None:
        host = self._hosts.setdefault(name, _Host())
        host.due_at = due_at if host.due_at is None else min(host.due_at, due_at)


def room_of(lines: Lines, host: str, standing: Standing) -> int:
    """Return how many more may be sent to a host at this time."""
    return (lines.host_max if standing is Standing.WORKS else 1) - lines.busy.get(host, 0)


def _waits(delivery: Delivery) -> bool:
    return delivery.state is DeliveryState.PENDING and delivery.lease_until is None


def _is_progress_of(delivery: Delivery, task_id: str) -> bool:
    return delivery.type == "task.progress" and delivery.task_id == task_id
