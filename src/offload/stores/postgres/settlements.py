"""Recording what came of deliveries, many at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from offload.core.callback import DeliveryState
from offload.core.task import Seconds
from offload.ports.callbacks import FAILURES_MAX, Settlement, Standing
from offload.stores.postgres.delivery_rows import earliest, enter
from offload.stores.postgres.rows import Row, stored
from offload.stores.postgres.statements import Connection, columns

BEING_SENT = """
    SELECT id, tries, host FROM deliveries WHERE id = ANY($1::text[]) AND lease_until IS NOT NULL
     ORDER BY id FOR NO KEY UPDATE
"""
SETTLE = """
    UPDATE deliveries d SET state = v.state, step = v.step, due_at = v.due_at, last = v.last, lease_until = NULL
      FROM unnest($1::text[], $2::text[], $3::integer[], $4::float8[], $5::text[]) v (id, state, step, due_at, last)
     WHERE d.id = v.id
"""
HOSTS = """
    SELECT host, standing, failures FROM callback_hosts WHERE host = ANY($1::text[]) ORDER BY host FOR NO KEY UPDATE
"""
JUDGE = """
    UPDATE callback_hosts h SET standing = v.standing, failures = v.failures
      FROM unnest($1::text[], $2::integer[], $3::integer[]) v (host, standing, failures) WHERE h.host = v.host
"""


@dataclass(slots=True)
class _Host:
    standing: int
    failures: int

    def hear(self, worked: bool) -> None:
        if worked:
            self.standing, self.failures = Standing.WORKS.value, 0
            return
        self.failures += 1
        if self.standing != Standing.WORKS or self.failures >= FAILURES_MAX:
            self.standing = Standing.FAILING.value


async def settle(connection: Connection, calls: Sequence[Sequence[Settlement]]) -> list[list[bool]]:
    """Record what each call says of deliveries that are still in the same try; tell each which were."""
    ids = sorted({one.before.id for one in chain.from_iterable(calls)})
    being_sent = {row[0]: (row[1], row[2]) for row in await connection.fetch(BEING_SENT, ids)}
    written: list[Row] = []
    news: list[tuple[str, bool]] = []
    due: list[tuple[str, Seconds]] = []

    def settled(one: Settlement) -> bool:
        tries, host = being_sent.get(one.before.id, (None, ""))
        if tries != one.before.tries:
            return False
        del being_sent[one.before.id]
        after = one.after
        written.append((one.before.id, after.state.value, after.step, after.due_at, stored(after.last)))
        if one.worked is not None:
            news.append((host, one.worked))
        if after.state is DeliveryState.PENDING:
            due.append((host, after.due_at))
        return True

    answers = [[settled(one) for one in call] for call in calls]
    if written:
        await connection.execute(SETTLE, *columns(written))
        await _judge(connection, news, [host for host, _ in due])
        await enter(connection, earliest(due))
    return answers


async def _judge(connection: Connection, news: Sequence[tuple[str, bool]], others: Sequence[str]) -> None:
    """Hold the rows of all hosts, in their order, and write what was learned of some."""
    names = sorted({host for host, _ in news} | set(others))
    hosts = {name: _Host(standing, failures) for name, standing, failures in await connection.fetch(HOSTS, names)}
    for name, worked in news:
        if name in hosts:
            hosts[name].hear(worked)
    judged = [(name, hosts[name].standing, hosts[name].failures) for name in sorted({n for n, _ in news} & set(hosts))]
    if judged:
        await connection.execute(JUDGE, *columns(judged))
