"""Deliveries as rows and rows as deliveries, and how they come in with the changes of their tasks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from offload.core.callback import Delivery, DeliveryState, Told, Try
from offload.core.task import Seconds
from offload.stores.postgres.rows import stored
from offload.stores.postgres.statements import Connection, arrays, columns

DELIVERY = """
    key, id, task_id, owner, type, url, body, told, host, created_at, due_at, state, tries, step, lease_until, last
"""
_ADDED = {
    "id": "text", "task": "bigint", "task_id": "text", "owner": "text", "type": "text", "url": "text", "body": "text",
    "told": "text", "host": "text", "created_at": "float8", "due_at": "float8",
}  # fmt: skip
ADD = f"""
    INSERT INTO deliveries ({", ".join(_ADDED)}, state, tries, step)
    SELECT {", ".join(f"v.{name}" for name in _ADDED)}, 'PENDING', 0, 0
      FROM ROWS FROM ({arrays(list(_ADDED.values()))}) WITH ORDINALITY AS v ({", ".join(_ADDED)}, place)
     WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.id = v.id)
     ORDER BY v.place
        ON CONFLICT (id) DO NOTHING
"""
LOCK_HOSTS = "SELECT host FROM callback_hosts WHERE host = ANY($1::text[]) ORDER BY host FOR NO KEY UPDATE"
ENTER = """
    INSERT INTO callback_hosts (host, standing, failures, due_at, used_at)
    SELECT v.host, 1, 0, v.due_at, v.due_at FROM unnest($1::text[], $2::float8[]) v (host, due_at) ORDER BY v.host
        ON CONFLICT (host) DO UPDATE SET due_at = least(callback_hosts.due_at, excluded.due_at)
"""
# index: deliveries_of_task; the empty text keeps the one on the state out, which would find those of all tasks
FORGET_PROGRESS = """
    DELETE FROM deliveries WHERE task = ANY($1::bigint[]) AND type = 'task.progress' AND state || '' <> 'PENDING'
"""
PROGRESS_WAITS = """
    SELECT task FROM deliveries
     WHERE task = ANY($1::bigint[]) AND type = 'task.progress' AND state || '' = 'PENDING' AND lease_until IS NULL
"""

_told = msgspec.json.Decoder(Told)
_last = msgspec.json.Decoder(Try)


async def add_deliveries(connection: Connection, new: Sequence[tuple[int, Delivery]]) -> None:
    """Write deliveries under the keys of their tasks; of a task's progress, one waits and none is kept for long.

    The last writes of a transaction: many may want the rows of one host.
    """
    if not new:
        return
    wanted = await _without_surplus(connection, new)
    if not wanted:
        return
    rows = [
        (
            each.id, task_key, each.task_id, each.owner, each.type, each.url, each.body, stored(each.told), each.host,
            each.created_at, each.due_at,
        )
        for task_key, each in wanted
    ]  # fmt: skip
    await connection.execute(ADD, *columns(rows))
    await enter(connection, earliest((each.host, each.due_at) for _, each in wanted))


async def enter(connection: Connection, hosts: Mapping[str, Seconds]) -> None:
    """Give hosts a place in line, or an earlier one."""
    if hosts:
        await connection.execute(ENTER, *columns(sorted(hosts.items())))


def earliest(due: Iterable[tuple[str, Seconds]]) -> dict[str, Seconds]:
    """Return the earliest time of each host."""
    found: dict[str, Seconds] = {}
    for host, at in due:
        found[host] = min(at, found.get(host, at))
    return found


def delivery_from(row: Iterable[Any]) -> Delivery:
    """Read what `SELECT DELIVERY` gave."""
    (
        key, delivery_id, task_id, owner, kind, url, body, told, host, created_at, due_at, state, tries, step,
        lease_until, last,
    ) = row  # fmt: skip
    return Delivery(
        id=delivery_id,
        task_id=task_id,
        type=kind,
        url=url,
        body=body,
        told=_told.decode(told),
        host=host,
        created_at=created_at,
        due_at=due_at,
        owner=owner,
        state=DeliveryState(state),
        tries=tries,
        step=step,
        lease_until=lease_until,
        last=None if last is None else _last.decode(last),
        key=key,
    )


async def _without_surplus(connection: Connection, new: Sequence[tuple[int, Delivery]]) -> list[tuple[int, Delivery]]:
    """Leave out progress of tasks that have some that waits, and what is there twice."""
    telling = sorted({task_key for task_key, each in new if each.type == "task.progress"})
    waits: set[int] = set()
    if telling:
        await connection.execute(FORGET_PROGRESS, telling)
        waits = {task_key for (task_key,) in await connection.fetch(PROGRESS_WAITS, telling)}
    wanted: dict[str, tuple[int, Delivery]] = {}
    for task_key, each in new:
        if each.type == "task.progress":
            if task_key in waits:
                continue
            waits.add(task_key)
        wanted.setdefault(each.id, (task_key, each))
    return list(wanted.values())
