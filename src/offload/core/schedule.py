"""A schedule: what is to be run again and again, when it was last, and what is due of it at a moment."""

import uuid
from datetime import UTC, datetime
from hashlib import sha256

import msgspec

from offload.core.recurrence import CatchUp, Recurrence
from offload.core.task import Callback, Record, Seconds

CATCH_UP_MAX = 100
"""So many passed due times, the newest, become tasks with `all`; those before them are missed."""
LATE_SECONDS_MAX = 60.0
"""With `skip`: so late a due time still makes its task, because a restart takes a moment."""
SKEW_SECONDS_MAX = 60.0
"""A next due time that is farther off than from so far ahead is the doing of a clock that was wrong."""


class Definition(Record, frozen=True, kw_only=True):
    """What somebody wants to recur; everything but this is the schedule's own bookkeeping."""

    job: str
    recurrence: Recurrence
    catch_up: CatchUp = "last"
    input: bytes = b"{}"
    """JSON as it was given; checked against the job's schema."""
    priority: int | None = None
    tags: dict[str, str] = {}
    callback: Callback | None = None
    deadline_seconds: Seconds | None = None
    paused: bool = False


class Schedule(Record, frozen=True, kw_only=True):
    """A definition with a name that its owner chose, and how far it has come."""

    id: str
    """Random, never shown: with a due time it makes the id of that due time's task, which nobody can guess."""
    name: str
    owner: str = ""
    what: Definition
    declared_in: str = ""
    """The jobs file whose code declares it; empty for those that were made by request."""
    key_id: str = ""
    """The key it was made with: that one's quotas hold for its tasks."""
    created_at: Seconds
    changed_at: Seconds
    anchor_at: Seconds
    """What an interval counts from."""
    next_at: Seconds | None = None
    """The earliest due time that nothing was done about yet; None while it is paused."""
    last_at: Seconds | None = None
    """The last due time that made a task."""
    last_task: str = ""
    fired: int = 0
    missed: int = 0
    version: int = 1
    """Grows by one with every write: of all who act on a due time, one does."""


class Plan(Record, frozen=True, kw_only=True):
    """What is to be done about a schedule at a moment."""

    times: tuple[Seconds, ...]
    """Due times that make a task each, the earliest first."""
    missed: int
    """Due times that will make none."""
    next_at: Seconds


def new_schedule(name: str, owner: str, what: Definition, now: Seconds) -> Schedule:
    at = round(now, 3)
    found = Schedule(
        id=uuid.uuid4().hex, name=name, owner=owner, what=what, created_at=at, changed_at=at, anchor_at=at
    )  # fmt: skip
    return found if what.paused else msgspec.structs.replace(found, next_at=what.recurrence.next_after(at, at))


def changed(schedule: Schedule, what: Definition, now: Seconds) -> Schedule:
    """Return the schedule with another definition; what already came of it stays, and no due time comes again.

    A new recurrence, and the end of a pause, count from now on.
    """
    at = round(now, 3)
    anew = what.recurrence != schedule.what.recurrence
    anchor_at = at if anew else schedule.anchor_at
    next_at = schedule.next_at
    if what.paused:
        next_at = None
    elif anew or next_at is None:
        next_at = what.recurrence.next_after(at, anchor_at)
    return msgspec.structs.replace(
        schedule, what=what, anchor_at=anchor_at, next_at=next_at, changed_at=at, version=schedule.version + 1
    )


def plan(schedule: Schedule, now: Seconds) -> Plan:
    """Return what is due at `now` under the schedule's policy."""
    assert schedule.next_at is not None and schedule.next_at <= now
    what, anchor = schedule.what, schedule.anchor_at
    most = CATCH_UP_MAX if what.catch_up == "all" else 1
    times, missed = what.recurrence.last_times(schedule.next_at, now, anchor, most)
    if what.catch_up == "skip" and times and now - times[-1] > LATE_SECONDS_MAX:
        times, missed = [], missed + len(times)
    return Plan(times=tuple(times), missed=missed, next_at=what.recurrence.next_after(now, anchor))


def acted(schedule: Schedule, found: Plan, count: int) -> Schedule:
    """Return the schedule after the first `count` due times of a plan made their tasks; the others stay due."""
    assert count == len(found.times) or 0 < count < len(found.times)
    next_at = found.next_at if count == len(found.times) else found.times[count]
    after = msgspec.structs.replace(
        schedule,
        next_at=next_at,
        missed=schedule.missed + found.missed,
        fired=schedule.fired + count,
        version=schedule.version + 1,
    )
    if not count:
        return after
    last_at = found.times[count - 1]
    return msgspec.structs.replace(after, last_at=last_at, last_task=task_id_of(schedule, last_at))


def mended(schedule: Schedule, now: Seconds) -> Schedule | None:
    """Return the schedule with a sane next due time when a clock that ran ahead had put it far off; else None.

    Due times of a cron expression that made their tasks already make the same ones again, which is none.
    An interval begins anew.
    """
    if schedule.next_at is None:
        return None
    recurrence = schedule.what.recurrence
    if schedule.next_at <= recurrence.next_after(now + SKEW_SECONDS_MAX, schedule.anchor_at):
        return None
    anchor_at = schedule.anchor_at if recurrence.cron else round(now, 3)
    next_at = recurrence.next_after(now, anchor_at)
    return msgspec.structs.replace(schedule, anchor_at=anchor_at, next_at=next_at, version=schedule.version + 1)


def task_id_of(schedule: Schedule, due_at: Seconds) -> str:
    """Return the id of the one task that a due time makes, whoever makes it and however often it is tried."""
    digest = sha256(f"{schedule.id}:{round(due_at * 1000)}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def tags_of(schedule: Schedule, due_at: Seconds) -> dict[str, str]:
    """Return the tags of a due time's task: by them the tasks of a schedule are found."""
    due = datetime.fromtimestamp(due_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"schedule": schedule.name, "due": due, **schedule.what.tags}
