"""What the engine needs from the world, in the engine's words; adapters give it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from offload.core.callback import Delivery
from offload.core.outcome import Outcome
from offload.core.task import FileRef, Progress, Record, Scope, Seconds, Status, Task, TaskEvent
from offload.core.transitions import Change


class NewTask(Record, frozen=True, kw_only=True):
    """A task to add, with the key under which the same request finds it again."""

    task: Task
    events: tuple[TaskEvent, ...] = ()
    idempotency_key: str | None = None
    fingerprint: str = ""
    """A digest of the whole request: the same key with another fingerprint is refused."""


class Added(Record, frozen=True, kw_only=True):
    task: Task
    fresh: bool
    """False: the request had been made before and this is the task it made."""


class Ask(Record, frozen=True, kw_only=True):
    """A wish for up to `limit` tasks of these jobs in this queue, first in line first."""

    queue: str
    jobs: tuple[str, ...]
    limit: int
    owner: str | None = None
    """Only this owner's tasks; None: everybody's."""


class Note(Record, frozen=True, kw_only=True):
    """What a running attempt has to say before it ends; written only while it holds the task."""

    task: Task
    progress: Progress | None = None
    events: tuple[TaskEvent, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    """Of progress: left out while the task has one that waits, which will tell of this too."""
    files: tuple[FileRef, ...] | None = None
    """The task's files, when some that were elsewhere have come; None: as they were."""
    grown_bytes: int = 0
    """How much larger the task's input has become by them; its queue and its owner hold so much more."""


class Renewal(Record, frozen=True, kw_only=True):
    held: bool
    """False: the lease was lost; the attempt's result will be refused."""
    cancel_requested: bool = False


class Filter(Record, frozen=True, kw_only=True):
    job: str | None = None
    queue: str | None = None
    statuses: tuple[Status, ...] = ()
    tags: dict[str, str] = {}
    created_after: Seconds | None = None
    created_before: Seconds | None = None
    before_key: int | None = None
    """Keyset paging: only tasks older than this key."""
    limit: int = 100


class Depth(Record, frozen=True, kw_only=True):
    """What waits and runs of one job in one queue."""

    queue: str
    job: str
    queued: int = 0
    """QUEUED, those with a later `run_at` included."""
    ready: int = 0
    """QUEUED and due; a later `run_at` that has come counts from the next claim on."""
    running: int = 0
    bytes: int = 0
    """`input_bytes` of the queued and the running."""
    oldest_at: Seconds | None = None
    """`run_at` of the ready task that is first in line."""


class Retention(Record, frozen=True, kw_only=True):
    """What `purge` may drop at `now`."""

    now: Seconds
    audit_seconds: Seconds
    """How long after its end a task's row stays."""
    key_seconds: Seconds
    """How long an idempotency key is kept."""
    limit: int = 500


class Purged(Record, frozen=True, kw_only=True):
    """What one batch dropped; `task_ids` are those whose blobs can go now."""

    task_ids: tuple[str, ...] = ()
    rows: int = 0
    keys: int = 0


class TaskStore(Protocol):
    """The record of truth. A call that has returned is durable; one that raised has changed nothing.

    Raises DiskFull or StoreUnavailable. A `scope` hides every task of another owner as if it did not exist; calls that
    take Tasks were scoped when those were read.
    """

    async def add(self, new: Sequence[NewTask]) -> list[Added]:
        """Add all or none. Raise TaskAlreadyExists (its id, other fingerprint) or IdempotencyKeyReused."""

    async def apply(self, changes: Sequence[Change]) -> list[bool]:
        """Write each change whose task is still as it was (id, version and attempt); tell which were written."""

    async def claim(self, asks: Sequence[Ask], *, node: str, now: Seconds, lease_until: Seconds) -> list[Task]:
        """Take due tasks in line order (`Task.rank`, then key) as `decide(CLAIM)` would, none past its deadline.

        Of delayed tasks that have come due, those that came first enter the line; it may be a part of them at a time.
        """

    async def note(self, notes: Sequence[Note]) -> list[bool]:
        """Add what is noted to tasks still RUNNING in the same attempt and node; tell which. No version grows."""

    async def renew(self, held: Sequence[Task], *, lease_until: Seconds) -> list[Renewal]:
        """Prolong the leases of tasks that are still RUNNING in the same attempt of the same node; no version grows."""

    async def overdue(self, *, now: Seconds, limit: int) -> list[Task]:
        """Return tasks whose lease has ended, and QUEUED tasks whose deadline has passed; earliest first."""

    async def next_due(self, now: Seconds) -> Seconds | None:
        """Return the earliest later `run_at` or deadline of a QUEUED task.

        `now` itself when more have come due than enter the line in one claim: claims, of nothing even, let them enter.
        """

    async def get(self, scope: Scope, task_id: str) -> Task | None: ...

    async def find(self, scope: Scope, wanted: Filter) -> list[Task]:
        """Return tasks newest first."""

    async def events(self, scope: Scope, task_id: str, *, after: int = 0, limit: int = 1000) -> list[TaskEvent]:
        """Return events numbered above `after`, in order."""

    async def depths(self) -> list[Depth]:
        """Return what waits and runs; from counters, never by counting rows."""

    async def purge(self, what: Retention) -> Purged:
        """Drop one batch: payloads past `expires_at` (row and status events stay), rows past audit, old keys."""


class QueueStore(Protocol):
    """What operators decide about queues."""

    async def paused(self) -> frozenset[str]: ...

    async def set_paused(self, queue: str, paused: bool) -> None: ...

    async def position(self, task: Task, *, most: int) -> int | None:
        """Return how many due tasks of its queue run before this QUEUED, due one; None when more than `most`."""


class LooseFile(Record, frozen=True, kw_only=True):
    """A file stored on its own, to be named later as `file:{id}`."""

    id: str
    owner: str
    file: FileRef
    created_at: Seconds


class FileStore(Protocol):
    """Files that belong to no task yet."""

    async def add_file(self, file: LooseFile) -> None: ...

    async def get_file(self, scope: Scope, file_id: str) -> LooseFile | None: ...

    async def purge_files(self, *, created_before: Seconds, limit: int) -> list[str]:
        """Forget the oldest and return their ids; their blobs can go then."""


class BlobWriter(Protocol):
    """One blob in the making: `write` chunks, then `commit`; without a commit nothing remains."""

    async def write(self, chunk: bytes) -> None:
        """Raise BodyTooLarge beyond the limit, DiskFull when there is no room."""

    async def commit(self) -> tuple[int, str]:
        """Make it durable under its name; return size and SHA-256 in hex."""

    async def abort(self) -> None: ...


class Blobs(Protocol):
    """Bytes by name. Names are slash-separated and never come from a client.

    Raises DiskFull or StoreUnavailable, whatever is asked, when it may work later.
    """

    async def start(self) -> None:
        """Make ready, and sweep what a crash left unfinished."""

    def writer(self, name: str, *, bytes_max: int) -> BlobWriter: ...

    async def adopt(self, name: str, path: Path) -> tuple[int, str]:
        """Move a finished local file in, durably; return size and SHA-256."""

    async def copy(self, source: str, name: str) -> None: ...

    async def local_path(self, name: str) -> Path:
        """Return a path that can be read in place until it is released. Raise FileDoesNotExist."""

    def release(self, prefix: str, *, again: bool) -> None:
        """Say that an attempt has read the blobs below `prefix`; `again`: another attempt will, here or elsewhere."""

    def read(self, name: str, *, start: int = 0, size: int | None = None) -> AsyncIterator[bytes]: ...

    async def delete(self, prefix: str, *, older_than_seconds: Seconds | None = None) -> None:
        """Delete every blob below `prefix`, or only what nothing has touched for so long; none is fine."""

    async def prefixes(self, under: str, *, older_than_seconds: Seconds) -> list[str]:
        """Return the names one level below `under` that nothing has touched for so long."""

    async def free_bytes(self) -> int | None:
        """Return the room left, None when the store does not say."""


class Work(Record, frozen=True, kw_only=True):
    """One attempt, ready to run."""

    task: Task
    paths: dict[str, str] = {}
    """Blob name to the path a worker can read."""
    traceparent: str = ""
    """For what the job does: its attempt in the trace of its task."""


class Room(Record, frozen=True, kw_only=True):
    """Free places of one lane: the worker processes that run the same jobs."""

    lane: str
    jobs: tuple[str, ...]
    places: int


class WorkerState(Record, frozen=True, kw_only=True):
    """One worker process, for people."""

    pid: int
    lane: str
    tasks: tuple[str, ...]
    busy_seconds: Seconds
    memory_bytes: int
    tasks_done: int


class Listener(Protocol):
    """Who hears of attempts. Called on the event loop; must not block."""

    def noted(self, note: Note) -> None:
        """Progress, outputs and log lines: already coalesced and bounded."""

    def ended(self, task: Task, outcome: Outcome, last_words: tuple[TaskEvent, ...]) -> None:
        """Exactly once for each `run`; `last_words` are log events not yet noted."""

    def room_freed(self) -> None:
        """There may be more room than before."""


class Workers(Protocol):
    """The processes that run user code."""

    async def start(self, listener: Listener) -> None: ...

    def jobs(self) -> list[str]:
        """Return the names of the jobs that are run here, whether there is room or not."""

    def rooms(self) -> list[Room]: ...

    def run(self, work: Work) -> None:
        """Hand over an attempt for which there was room."""

    def cancel(self, task: Task) -> None:
        """Make the attempt end: cooperatively, then TERM, then KILL; `ended` tells when it has.

        One that has ended already, or was never handed over, is none of its business.
        """

    def workers(self) -> list[WorkerState]: ...

    async def stop(self, *, grace_seconds: Seconds) -> None:
        """Give back what has not started, let the rest run until the grace ends, then kill and give back: all end."""


class Answer(Record, frozen=True, kw_only=True):
    """What a receiver said to a callback."""

    status: int
    body: bytes = b""
    """The first 64 KiB, as the wire carried them."""
    retry_after_seconds: Seconds | None = None
    latency_seconds: Seconds

    @property
    def accepts(self) -> bool:
        return 200 <= self.status < 300


class Fetched(Record, frozen=True, kw_only=True):
    """What a source said of the file that it gave."""

    name: str
    """Only a name, never a path; never empty."""
    type: str
    size: int


class Egress(Protocol):
    """The one door to places that clients name. Every call judges anew where it leads, and is bounded in time and size.

    Raises EgressRefused when the URL itself can never be used, else Unreachable or ExchangeFailed, both temporary.
    """

    def check(self, url: str) -> None:
        """Raise EgressRefused when no task should be accepted with this URL; look nothing up."""

    async def send(self, url: str, *, headers: Mapping[str, str], body: bytes | AsyncIterator[bytes]) -> Answer:
        """POST a callback, 15 s in all, and return any answer; one that redirects is not followed.

        A `body` that is no bytes needs its Content-Length among the headers.
        """

    async def fetch(
        self,
        url: str,
        sink: BlobWriter,
        *,
        bytes_max: int,
        seconds_max: Seconds,
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        """Write a file into a sink; the caller commits, or aborts when this raises.

        Raises SourceUnavailable (see `temporary`) or BodyTooLarge as well. `headers` go to the URL's own origin only.
        """

    async def push(
        self, url: str, chunks: AsyncIterator[bytes], *, size: int, headers: Mapping[str, str], seconds_max: Seconds
    ) -> Answer:
        """PUT a result, and return when the receiver has confirmed it. Raise UploadRefused (see `temporary`)."""


class Clock(Protocol):
    def now(self) -> Seconds:
        """Return Unix time that never goes back and does not follow jumps of the wall clock at once."""

    def monotonic(self) -> Seconds: ...
