"""What one transaction does for the calls that wait, kind by kind."""

from collections.abc import Mapping, Sequence
from itertools import chain

from offload.core.errors import OffloadError
from offload.core.task import Task
from offload.ports import Added, NewTask
from offload.stores.postgres import reads
from offload.stores.postgres.batch import Batch, Crossed
from offload.stores.postgres.flush import flush
from offload.stores.postgres.settlements import settle
from offload.stores.postgres.statements import Connection
from offload.stores.postgres.writer import Call

_Calls = Mapping[str, Sequence[Call]]


async def perform(connection: Connection, slot: int, calls: Sequence[Call]) -> None:
    """Write calls. They wait at the same time, so any order is true; notes go before ends."""
    batch = Batch(connection)
    of: dict[str, list[Call]] = {}
    for call in calls:
        of.setdefault(call.kind, []).append(call)
    await _decide(batch, of)
    answers = {call: call.answer for call in of.get("add", ()) if call.error is None}
    settling = of.get("settle", ())
    batch.hosts = sorted({one.before.host for call in settling for one in call.argument})
    made = await flush(batch, slot)
    found = await _earlier(connection, [key for keys in answers.values() for key in keys if key > 0])
    told: set[int] = set()
    for call, keys in answers.items():
        call.answer = [_added(key, made, found, told) for key in keys]
    if settling:
        for call, settled in zip(settling, await settle(connection, [c.argument for c in settling]), strict=True):
            call.answer = settled


async def add(connection: Connection, slot: int, new: Sequence[NewTask]) -> list[Added]:
    """Add tasks as a part of a transaction that does more. Raise TaskAlreadyExists."""
    batch = Batch(connection)
    await batch.load_new(new)
    keys = batch.add(new)
    made = await flush(batch, slot)
    found = await _earlier(connection, [key for key in keys if key > 0])
    told: set[int] = set()
    return [_added(key, made, found, told) for key in keys]


async def _decide(batch: Batch, of: _Calls) -> None:
    notes, renewals, changes, new = (of.get(kind, ()) for kind in ("note", "renew", "apply", "add"))
    keys = [note.task.key for call in notes for note in call.argument]
    keys += [task.key for call in renewals for task in call.argument[0]]
    keys += [change.before.key for call in changes for change in call.argument]
    await batch.load(keys)
    for call in notes:
        call.answer = [batch.note(note) for note in call.argument]
    for call in renewals:
        held, lease_until = call.argument
        call.answer = [batch.renew(task, lease_until) for task in held]
    for call in changes:
        call.answer = [batch.apply(change) for change in call.argument]
    await batch.load_new(list(chain.from_iterable(call.argument for call in new)))
    for call in new:
        try:
            call.answer = batch.add(call.argument)
        except OffloadError as error:
            call.error = error


async def _earlier(connection: Connection, keys: list[int]) -> Mapping[int, Task]:
    if not keys:
        return {}
    found = await reads.get_by_keys(connection, keys)
    if len(found) < len(set(keys)):  # purged since
        raise Crossed
    return found


def _added(key: int, made: Sequence[Task], found: Mapping[int, Task], told: set[int]) -> Added:
    """Return what was added; what is asked for twice in one transaction is made once."""
    if key > 0:
        return Added(task=found[key], fresh=False)
    fresh = key not in told
    told.add(key)
    return Added(task=made[-1 - key], fresh=fresh)
