"""Deliveries as rows and rows as deliveries, and how they come in with the changes of their tasks."""

from collections.abc import Sequence

import apsw
import msgspec

from offload.core.callback import Delivery, DeliveryState, Told, Try
from offload.core.task import Seconds
from offload.stores.sqlite.rows import Row, id_from, stored
from offload.stores.sqlite.statements import rows

DELIVERY = """
    d.key, d.id, t.id, d.owner, d.type, d.url, d.body, d.told, d.host, d.created_at, d.due_at, d.state, d.tries, d.step,
    d.lease_until, d.last
"""
OF_TASKS = "JOIN tasks t ON t.key = d.task"
"""The join is a lookup by key."""

ADD = """
    INSERT OR IGNORE INTO deliveries
        (id, task, owner, type, url, body, told, host, created_at, due_at, state, tries, step)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'PENDING', 0, 0)
"""
ENTER = """
    INSERT INTO callback_hosts (host, standing, failures, due_at, used_at) VALUES (?1, 1, 0, ?2, ?2)
        ON CONFLICT (host) DO UPDATE SET due_at = min(coalesce(due_at, ?2), ?2)
"""
PROGRESS_WAITS = """
    SELECT 1 FROM deliveries INDEXED BY deliveries_of_task
     WHERE task = ? AND type = 'task.progress' AND state = 'PENDING' AND lease_until IS NULL
"""
FORGET_PROGRESS = """
    DELETE FROM deliveries WHERE key IN (
        SELECT key FROM deliveries INDEXED BY deliveries_of_task
         WHERE task = ? AND type = 'task.progress' AND state <> 'PENDING')
"""

_told = msgspec.json.Decoder(Told)
_last = msgspec.json.Decoder(Try)


def add_deliveries(connection: apsw.Connection, new: Sequence[tuple[int, Delivery]]) -> None:
    """Write deliveries under the keys of their tasks; of a task's progress, one waits and none is kept for long."""
    for task_key, delivery in new:
        if delivery.type == "task.progress":
            rows(connection, FORGET_PROGRESS, task_key)
            if rows(connection, PROGRESS_WAITS, task_key):
                continue
        row = (
            delivery.id, task_key, delivery.owner, delivery.type, delivery.url, delivery.body, stored(delivery.told),
            delivery.host, delivery.created_at, delivery.due_at,
        )  # fmt: skip
        connection.execute(ADD, row)
        enter(connection, delivery.host, delivery.due_at)


def enter(connection: apsw.Connection, host: str, due_at: Seconds) -> None:
    """Give a host a place in line, or an earlier one."""
    connection.execute(ENTER, (host, due_at))


def delivery_from(row: Row) -> Delivery:
    """Read what `SELECT DELIVERY` gave."""
    (
        key, delivery_id, task_id, owner, kind, url, body, told, host, created_at, due_at, state, tries, step,
        lease_until, last,
    ) = row  # fmt: skip
    return Delivery(
        id=delivery_id,
        task_id=id_from(task_id),
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
