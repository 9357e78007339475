"""Callbacks to send, in the database: taken host by host, so that what waits for one costs the others nothing."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from offload.core.callback import Delivery, replayed
from offload.core.signing import Secret
from offload.core.task import Scope, Seconds
from offload.ports.callbacks import DeliveryFilter, Lines, Settlement, Standing, Taken
from offload.stores.postgres.delivery_rows import DELIVERY, delivery_from, enter
from offload.stores.postgres.links import Links
from offload.stores.postgres.statements import Connection
from offload.stores.postgres.writer import Writer

CLAIM_MAX = 100
"""Deliveries of one transaction: however many come due at once, other writes go on between."""
ENDING_MAX = 500

# index: deliveries_leased
ENDED = """
    UPDATE deliveries SET lease_until = NULL WHERE key = ANY(ARRAY(
        SELECT key FROM deliveries WHERE lease_until IS NOT NULL AND lease_until <= $1
         ORDER BY lease_until LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED))
    RETURNING host
"""
# index: callback_hosts_line. Whoever holds a host's row is the only one who takes from its line.
HOSTS = """
    SELECT host FROM callback_hosts WHERE standing = $1 AND due_at IS NOT NULL AND due_at <= $2
     ORDER BY due_at, host LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""
# index: deliveries_line
OF_HOSTS = """
    SELECT h.host, d.key FROM ROWS FROM (unnest($1::text[], $2::integer[])) WITH ORDINALITY h (host, most, place)
     CROSS JOIN LATERAL (
        SELECT key, due_at FROM deliveries d
         WHERE d.host = h.host AND d.state = 'PENDING' AND d.lease_until IS NULL AND d.due_at <= $3
         ORDER BY d.host, d.due_at, d.key LIMIT h.most) d
     ORDER BY h.place, d.due_at, d.key
"""
TAKE = f"""
    UPDATE deliveries SET lease_until = $2, tries = tries + 1
     WHERE key = ANY($1::bigint[]) AND state = 'PENDING' AND lease_until IS NULL
    RETURNING {DELIVERY}
"""
# A host that was served goes behind those that wait since before; it has no place when nothing of it waits.
SERVED = """
    UPDATE callback_hosts c SET used_at = $2, due_at = CASE WHEN f.due_at IS NULL THEN NULL
                                                            ELSE greatest(f.due_at, $2) END
      FROM (SELECT h.host, (SELECT d.due_at FROM deliveries d
                             WHERE d.host = h.host AND d.state = 'PENDING' AND d.lease_until IS NULL
                             ORDER BY d.host, d.due_at LIMIT 1) due_at
              FROM unnest($1::text[]) h (host)) f
     WHERE c.host = f.host
"""
NEXT_DUE = """
    SELECT least(
        (SELECT due_at FROM callback_hosts WHERE standing = 0 AND due_at > $1 ORDER BY due_at LIMIT 1),
        (SELECT due_at FROM callback_hosts WHERE standing = 1 AND due_at > $1 ORDER BY due_at LIMIT 1),
        (SELECT due_at FROM callback_hosts WHERE standing = 2 AND due_at > $1 ORDER BY due_at LIMIT 1),
        (SELECT min(lease_until) FROM deliveries WHERE lease_until IS NOT NULL AND lease_until > $1))
"""
BY_ID = f"SELECT {DELIVERY} FROM deliveries WHERE id = $1 FOR NO KEY UPDATE"
AGAIN = "UPDATE deliveries SET state = $1, step = $2, due_at = $3 WHERE id = $4"
FAILING = "SELECT count(*) FROM callback_hosts WHERE standing = 2"
SECRETS = """
    SELECT text, created_at, until FROM callback_secrets WHERE owner = $1 ORDER BY until IS NOT NULL, created_at DESC
"""
OF_OWNER = "SELECT pg_advisory_xact_lock(hashtextextended('offload secrets of ' || $1, 0))"
FIRST_SECRET = """
    INSERT INTO callback_secrets (owner, text, created_at)
    SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM callback_secrets WHERE owner = $1)
"""
FORGET_SECRETS = "DELETE FROM callback_secrets WHERE owner = $1 AND until IS NOT NULL"
END_SECRET = "UPDATE callback_secrets SET until = $1 WHERE owner = $2"
ADD_SECRET = "INSERT INTO callback_secrets (owner, text, created_at) VALUES ($1, $2, $3)"


class PostgresDeliveries:
    """DeliveryStore by the writer and the links of a PostgresStore."""

    def __init__(self, writer: Writer, links: Links) -> None:
        self._writer = writer
        self._links = links
        self.ring: Callable[[], None] = lambda: None

    def listen(self, ring: Callable[[], None]) -> None:
        self.ring = ring

    async def claim(self, lines: Lines, *, now: Seconds, lease_until: Seconds) -> list[Taken]:
        return await self._links.transact(partial(_claim, lines=lines, now=now, lease_until=lease_until))

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        settled: list[bool] = await self._writer.call("settle", settlements)
        return settled

    async def next_due(self, now: Seconds) -> Seconds | None:
        found: Seconds | None = await self._links.read(Connection.fetchval, NEXT_DUE, now)
        return found

    async def find(self, scope: Scope, wanted: DeliveryFilter) -> list[Delivery]:
        if "\0" in (scope.owner or ""):  # an owner that nobody is, and that the database cannot be asked about
            return []
        sql, bound = _found(scope, wanted)
        return [delivery_from(row) for row in await self._links.read(Connection.fetch, sql, *bound)]

    async def replay(self, scope: Scope, delivery_id: str, *, now: Seconds) -> Delivery | None:
        found = await self._links.transact(partial(_replay, scope=scope, delivery_id=delivery_id, now=now))
        self.ring()
        return found

    async def failing_hosts(self) -> int:
        found: int = await self._links.read(Connection.fetchval, FAILING)
        return found

    async def secrets(self, owner: str) -> list[Secret]:
        return [
            Secret(owner=owner, text=text, created_at=created_at, until=until)
            for text, created_at, until in await self._links.read(Connection.fetch, SECRETS, owner)
        ]

    async def add_secret(self, secret: Secret) -> None:
        async def body(connection: Connection, slot: int) -> None:
            await connection.execute(OF_OWNER, secret.owner)  # two nodes that need a first one make one
            await connection.execute(FIRST_SECRET, secret.owner, secret.text, secret.created_at)

        await self._links.transact(body)

    async def rotate_secret(self, secret: Secret, *, until: Seconds) -> None:
        async def body(connection: Connection, slot: int) -> None:
            await connection.execute(OF_OWNER, secret.owner)
            await connection.execute(FORGET_SECRETS, secret.owner)
            await connection.execute(END_SECRET, until, secret.owner)
            await connection.execute(ADD_SECRET, secret.owner, secret.text, secret.created_at)

        await self._links.transact(body)


async def _claim(connection: Connection, slot: int, *, lines: Lines, now: Seconds, lease_until: Seconds) -> list[Taken]:
    ended = await connection.fetch(ENDED, now, ENDING_MAX)
    await enter(connection, dict.fromkeys((host for (host,) in ended), now))
    taken: list[Taken] = []
    for standing in Standing:
        room = min(lines.room.get(standing, 0), CLAIM_MAX - len(taken))
        if room <= 0:
            continue
        hosts = [host for (host,) in await connection.fetch(HOSTS, standing.value, now, room + len(lines.busy))]
        limits = {host: min(room, _room_of(lines, host, standing)) for host in hosts}
        keys, served = await _in_turn(connection, limits, room, now)
        if keys:
            rows = {row[0]: row for row in await connection.fetch(TAKE, keys, lease_until)}
            taken += [Taken(delivery=delivery_from(rows[key]), standing=standing) for key in keys if key in rows]
        if served:
            await connection.execute(SERVED, served, now)
    return taken


def _room_of(lines: Lines, host: str, standing: Standing) -> int:
    return (lines.host_max if standing is Standing.WORKS else 1) - lines.busy.get(host, 0)


async def _in_turn(
    connection: Connection, limits: Mapping[str, int], room: int, now: Seconds
) -> tuple[list[int], list[str]]:
    """Return what to take, host by host while there is room, and the hosts that had their turn."""
    open_hosts = {host: most for host, most in limits.items() if most > 0}
    of_host: dict[str, list[int]] = {host: [] for host in open_hosts}
    if open_hosts:
        for host, key in await connection.fetch(OF_HOSTS, list(open_hosts), list(open_hosts.values()), now):
            of_host[host].append(key)
    keys: list[int] = []
    served: list[str] = []
    for host, mine in of_host.items():
        if len(keys) < room:
            keys += mine[: room - len(keys)]
            served.append(host)
    return keys, served


def _found(scope: Scope, wanted: DeliveryFilter) -> tuple[str, list[Any]]:
    """Return the SELECT that `find` wants: a walk from the newest along an index."""
    bound: list[Any] = [wanted.limit]
    conditions: list[str] = []
    for condition, value in (
        ("task = (SELECT key FROM requests WHERE id = ?)", wanted.task_id),
        ("owner = ?", scope.owner),
        ("state = ?", wanted.state and wanted.state.value),
        ("key < ?", wanted.before_key),
    ):
        if value is not None:
            bound.append(value)
            conditions.append(condition.replace("?", f"${len(bound)}"))
    if scope.owner:
        conditions.append("owner <> ''")  # the condition of the index deliveries_by_owner
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {DELIVERY} FROM deliveries {where} ORDER BY key DESC LIMIT $1", bound


async def _replay(
    connection: Connection, slot: int, *, scope: Scope, delivery_id: str, now: Seconds
) -> Delivery | None:
    row = await connection.fetchrow(BY_ID, delivery_id)
    if row is None:
        return None
    found = delivery_from(row)
    if scope.owner not in (None, found.owner):
        return None
    again = replayed(found, now)
    if again is not found:
        await connection.execute(AGAIN, again.state.value, again.step, again.due_at, again.id)
        await enter(connection, {again.host: now})
    return again
