"""What one transaction does for the calls that wait, kind by kind."""

from collections.abc import Callable, Sequence

import apsw

from offload.core.errors import OffloadError
from offload.ports import Added
from offload.ports.schedules import Firing
from offload.stores.sqlite import reads
from offload.stores.sqlite.batch import Batch
from offload.stores.sqlite.claims import claim
from offload.stores.sqlite.counts import Counts
from offload.stores.sqlite.schedules import stands, write
from offload.stores.sqlite.statements import value
from offload.stores.sqlite.writer import Call


class Transaction:
    """Writes calls. They wait at the same time, so any order is true; notes go before ends."""

    def __init__(self, counts: Counts, connection: apsw.Connection, ring: Callable[[], None]) -> None:
        self._counts = counts
        self._ring = ring
        self._last_key: int = value(connection, "SELECT coalesce(max(key), 0) FROM tasks")

    def perform(self, connection: apsw.Connection, calls: Sequence[Call]) -> Callable[[], None]:
        """Write the calls in the open transaction; return what makes the counts follow once it is committed."""
        batch = Batch(connection, self._last_key, self._counts.later_at)
        of: dict[str, list[Call]] = {}
        for call in calls:
            of.setdefault(call.kind, []).append(call)
        self._decide(batch, of)
        batch.flush()
        for call in (*of.get("add", ()), *of.get("fire", ())):
            if call.error is None and call.answer is not None:
                call.answer = [_found(connection, added) for added in call.answer]
        for call in of.get("run", ()):
            call.answer = call.argument(connection)
        for call in of.get("claim", ()):
            asks, facts = call.argument
            call.answer = claim(batch, self._counts, asks, facts)
        batch.flush()
        return lambda: self._committed(batch)

    def _decide(self, batch: Batch, of: dict[str, list[Call]]) -> None:
        notes, renewals, changes, new = (of.get(kind, ()) for kind in ("note", "renew", "apply", "add"))
        keys = [note.task.key for call in notes for note in call.argument]
        keys += [task.key for call in renewals for task in call.argument[0]]
        keys += [change.before.key for call in changes for change in call.argument]
        batch.load(keys)
        for call in notes:
            call.answer = [batch.note(note) for note in call.argument]
        for call in renewals:
            held, lease_until = call.argument
            call.answer = [batch.renew(task, lease_until) for task in held]
        for call in changes:
            call.answer = [batch.apply(change) for change in call.argument]
        fires = of.get("fire", ())
        batch.load_new([one for call in new for one in call.argument])
        batch.load_new([one for call in fires for one in call.argument.new])
        for call in new:
            try:
                call.answer = batch.add(call.argument)
            except OffloadError as error:
                call.error = error
        for call in fires:
            try:
                call.answer = _fire(batch, call.argument)
            except OffloadError as error:
                call.error = error

    def _committed(self, batch: Batch) -> None:
        self._last_key = batch.last_key
        self._counts.move(batch.moves)
        self._counts.later_at = batch.later_at
        if batch.rings:
            self._ring()


def _fire(batch: Batch, firing: Firing) -> list[Added | int] | None:
    """Add the tasks of due times and write how far their schedule has come, if nobody else did."""
    if not stands(batch.connection, firing):
        return None
    added = batch.add(firing.new)
    written = write(batch.connection, firing.after, firing.before.version)
    assert written
    return added


def _found(connection: apsw.Connection, added: Added | int) -> Added:
    return added if isinstance(added, Added) else Added(task=reads.get_by_key(connection, added), fresh=False)
