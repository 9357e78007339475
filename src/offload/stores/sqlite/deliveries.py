"""Callbacks to send, in the SQLite file: taken host by host, so that what waits for one costs the others nothing."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import apsw

from offload.core.callback import Delivery, DeliveryState, replayed
from offload.core.signing import Secret
from offload.core.task import Scope, Seconds
from offload.ports.callbacks import FAILURES_MAX, DeliveryFilter, Lines, Settlement, Standing, Taken
from offload.stores.sqlite.delivery_rows import DELIVERY, OF_TASKS, delivery_from, enter
from offload.stores.sqlite.rows import id_stored, stored
from offload.stores.sqlite.statements import rows, run_for, value

CLAIM_MAX = 100
"""Deliveries of one transaction: however many come due at once, other writes go on between."""
ENDING_MAX = 500

ENDED = """
    UPDATE deliveries SET lease_until = NULL WHERE key IN (
        SELECT key FROM deliveries INDEXED BY deliveries_leased
         WHERE lease_until IS NOT NULL AND lease_until <= ? ORDER BY lease_until LIMIT ?)
    RETURNING host
"""
HOSTS = """
    SELECT host FROM callback_hosts INDEXED BY callback_hosts_line
     WHERE standing = ? AND due_at IS NOT NULL AND due_at <= ? ORDER BY due_at, host LIMIT ?
"""
OF_HOST = """
    SELECT key FROM deliveries INDEXED BY deliveries_line
     WHERE host = ? AND state = 'PENDING' AND lease_until IS NULL AND due_at <= ? ORDER BY due_at, key LIMIT ?
"""
TAKE = "UPDATE deliveries SET lease_until = ?, tries = tries + 1 WHERE key IN (@keys)"
READ = f"SELECT {DELIVERY} FROM deliveries d {OF_TASKS} WHERE d.key IN (@keys)"
FIRST = """
    SELECT min(due_at) FROM deliveries INDEXED BY deliveries_line
     WHERE host = ? AND state = 'PENDING' AND lease_until IS NULL
"""
SERVED = "UPDATE callback_hosts SET due_at = max(?, ?), used_at = ? WHERE host = ?"
"""The later of two times: a host that was served goes behind those that wait since before; NULL when none waits."""
SETTLE = """
    UPDATE deliveries SET state = ?, step = ?, due_at = ?, last = ?, lease_until = NULL
     WHERE id = ? AND tries = ? AND lease_until IS NOT NULL
    RETURNING host
"""
WORKED = "UPDATE callback_hosts SET standing = 0, failures = 0 WHERE host = ?"
FAILED = f"""
    UPDATE callback_hosts SET failures = failures + 1,
           standing = CASE WHEN standing = 0 AND failures + 1 < {FAILURES_MAX} THEN 0 ELSE 2 END
     WHERE host = ?
"""
NEXT_HOST = """
    SELECT min(due_at) FROM callback_hosts INDEXED BY callback_hosts_line
     WHERE standing = ? AND due_at IS NOT NULL AND due_at > ?
"""
NEXT_LEASE = """
    SELECT min(lease_until) FROM deliveries INDEXED BY deliveries_leased
     WHERE lease_until IS NOT NULL AND lease_until > ?
"""
BY_ID = f"SELECT {DELIVERY} FROM deliveries d {OF_TASKS} WHERE d.id = ?"
AGAIN = "UPDATE deliveries SET state = ?, step = ?, due_at = ? WHERE id = ?"
FAILING = """
    SELECT count(*) FROM callback_hosts INDEXED BY callback_hosts_failing WHERE standing = 2
"""
SECRETS = "SELECT text, created_at, until FROM callback_secrets WHERE owner = ?"
FIRST_SECRET = """
    INSERT INTO callback_secrets (owner, text, created_at)
    SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM callback_secrets WHERE owner = ?1)
"""
FORGET_SECRETS = "DELETE FROM callback_secrets WHERE owner = ? AND until IS NOT NULL"
END_SECRET = "UPDATE callback_secrets SET until = ? WHERE owner = ?"
ADD_SECRET = "INSERT INTO callback_secrets (owner, text, created_at) VALUES (?, ?, ?)"

Run = Callable[[Callable[[apsw.Connection], Any]], Any]
Read = Callable[..., Any]


class Bell:
    """Rung by the writer's thread, heard on the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.heard: Callable[[], None] = lambda: None

    def ring(self) -> None:
        self._loop.call_soon_threadsafe(self.heard)


class SqliteDeliveries:
    """DeliveryStore in the file of a SqliteStore, by the writer and the readers of that."""

    def __init__(self, run: Run, read: Read, bell: Bell) -> None:
        self._run = run
        self._read = read
        self._bell = bell

    def listen(self, ring: Callable[[], None]) -> None:
        self._bell.heard = ring

    async def claim(self, lines: Lines, *, now: Seconds, lease_until: Seconds) -> list[Taken]:
        taken: list[Taken] = await self._run(lambda connection: _claim(connection, lines, now, lease_until))
        return taken

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        settled: list[bool] = await self._run(lambda c: [_settle(c, one) for one in settlements])
        return settled

    async def next_due(self, now: Seconds) -> Seconds | None:
        found: Seconds | None = await self._read(_next_due, now)
        return found

    async def find(self, scope: Scope, wanted: DeliveryFilter) -> list[Delivery]:
        found: list[Delivery] = await self._read(_find, scope, wanted)
        return found

    async def replay(self, scope: Scope, delivery_id: str, *, now: Seconds) -> Delivery | None:
        found: Delivery | None = await self._run(lambda connection: _replay(connection, scope, delivery_id, now))
        self._bell.ring()
        return found

    async def failing_hosts(self) -> int:
        found: int = await self._read(value, FAILING)
        return found

    async def secrets(self, owner: str) -> list[Secret]:
        found = await self._read(rows, SECRETS, owner)
        kept = [Secret(owner=owner, text=text, created_at=created_at, until=until) for text, created_at, until in found]
        return sorted(kept, key=lambda secret: secret.until is not None)

    async def add_secret(self, secret: Secret) -> None:
        await self._run(lambda c: rows(c, FIRST_SECRET, secret.owner, secret.text, secret.created_at))

    async def rotate_secret(self, secret: Secret, *, until: Seconds) -> None:
        def rotate(connection: apsw.Connection) -> None:
            rows(connection, FORGET_SECRETS, secret.owner)
            rows(connection, END_SECRET, until, secret.owner)
            rows(connection, ADD_SECRET, secret.owner, secret.text, secret.created_at)

        await self._run(rotate)


def _claim(connection: apsw.Connection, lines: Lines, now: Seconds, lease_until: Seconds) -> list[Taken]:
    for (host,) in rows(connection, ENDED, now, ENDING_MAX):
        enter(connection, host, now)
    keys: list[int] = []
    standings: dict[int, Standing] = {}
    for standing in Standing:
        room = min(lines.room.get(standing, 0), CLAIM_MAX - len(keys))
        if room <= 0:
            continue
        for (host,) in rows(connection, HOSTS, standing.value, now, room + len(lines.busy)):
            most = min(room, (lines.host_max if standing is Standing.WORKS else 1) - lines.busy.get(host, 0))
            if most > 0:
                mine = [key for (key,) in rows(connection, OF_HOST, host, now, most)]
                run_for(connection, TAKE, mine, lease_until)
                first = value(connection, FIRST, host)
                rows(connection, SERVED, first, now, now, host)
                keys += mine
                standings.update(dict.fromkeys(mine, standing))
                room -= len(mine)
    found = {row[0]: delivery_from(row) for row in run_for(connection, READ, keys)}
    return [Taken(delivery=found[key], standing=standings[key]) for key in keys]


def _settle(connection: apsw.Connection, one: Settlement) -> bool:
    after = one.after
    bound = (after.state.value, after.step, after.due_at, stored(after.last), one.before.id, one.before.tries)
    for (host,) in rows(connection, SETTLE, *bound):
        if one.worked is not None:
            rows(connection, WORKED if one.worked else FAILED, host)
        if after.state is DeliveryState.PENDING:
            enter(connection, host, after.due_at)
        return True
    return False


def _next_due(connection: apsw.Connection, now: Seconds) -> Seconds | None:
    times = [value(connection, NEXT_HOST, standing.value, now) for standing in Standing]
    times.append(value(connection, NEXT_LEASE, now))
    return min((time for time in times if time is not None), default=None)


def _find(connection: apsw.Connection, scope: Scope, wanted: DeliveryFilter) -> list[Delivery]:
    sql, bound = found_deliveries(scope, wanted)
    return [delivery_from(row) for row in connection.execute(sql, bound).fetchall()]


def found_deliveries(scope: Scope, wanted: DeliveryFilter) -> tuple[str, dict[str, Any]]:
    """Return the SELECT that `find` wants: a walk from the newest along the index that leaves least to be skipped."""
    possible = {
        "d.task = (SELECT key FROM tasks WHERE id = :task)": wanted.task_id and id_stored(wanted.task_id),
        "d.owner = :owner": scope.owner,
        "d.owner <> ''": scope.owner or None,  # the condition of the index deliveries_by_owner
        "d.state = :state": wanted.state and wanted.state.value,
        "d.key < :before_key": wanted.before_key,
    }
    conditions = {condition: bound for condition, bound in possible.items() if bound is not None}
    index = "NOT INDEXED"
    if wanted.task_id is not None:
        index = "INDEXED BY deliveries_of_task"
    elif scope.owner:
        index = "INDEXED BY deliveries_by_owner"
    elif wanted.state is not None:
        index = "INDEXED BY deliveries_by_state"
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT {DELIVERY} FROM deliveries d {index} CROSS {OF_TASKS} {where} ORDER BY d.key DESC LIMIT :limit"
    bound: dict[str, Any] = {"task": None, "owner": None, "state": None, "before_key": None, "limit": wanted.limit}
    for condition, each in conditions.items():
        bound[condition.rpartition(":")[2].rstrip(")")] = each
    return sql, {name: each for name, each in bound.items() if f":{name}" in sql}


def _replay(connection: apsw.Connection, scope: Scope, delivery_id: str, now: Seconds) -> Delivery | None:
    for row in rows(connection, BY_ID, delivery_id):
        found = delivery_from(row)
        if scope.owner not in (None, found.owner):
            return None
        again = replayed(found, now)
        if again is not found:
            rows(connection, AGAIN, again.state.value, again.step, again.due_at, again.id)
            enter(connection, again.host, now)
        return again
    return None
