"""What the engine's agents share, and the intervals they keep."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from offload.core.catalog import Catalog
from offload.core.lease import SECRET_BYTES
from offload.core.task import Record, Seconds, Status, Task
from offload.core.transitions import Change
from offload.engine.hub import Hub
from offload.engine.ringer import Ringer
from offload.engine.stats import Stats
from offload.engine.traces import Traces
from offload.engine.traffic import Traffic
from offload.ports import Blobs, Clock, Egress, FileStore, QueueStore, TaskStore, Workers
from offload.ports.broker import Broker
from offload.ports.callbacks import DeliveryStore
from offload.ports.history import HistoryStore
from offload.ports.links import BlobLinks
from offload.ports.nodes import NodeStore
from offload.ports.previews import Previews
from offload.ports.schedules import ScheduleStore
from offload.ports.tracing import Tracer
from offload.ports.work_queue import WorkQueue


class Timing(Record, frozen=True, kw_only=True):
    """The engine's intervals, in seconds."""

    lease_seconds: Seconds = 30.0
    heartbeat_seconds: Seconds = 5.0
    sweep_seconds: Seconds = 5.0
    count_seconds: Seconds = 1.0
    """How often the queues are counted while other nodes fill them too; sooner while one is filling up."""
    look_seconds: Seconds = 4.0
    """Between two rounds of looking at watched tasks that other nodes may have changed."""
    stop_seconds: Seconds = 15.0
    """How long a delete waits for a running attempt to stop."""
    payload_seconds: Seconds = 7 * 86_400.0
    audit_seconds: Seconds = 90 * 86_400.0
    key_seconds: Seconds = 86_400.0
    file_seconds: Seconds = 86_400.0
    orphan_seconds: Seconds = 86_400.0
    """How old blobs of no task must be to be swept; longer than a request takes whose first file is here already."""


class Fetching(Record, frozen=True, kw_only=True):
    """How much is spent on the files that inputs name by URL."""

    at_once_max: int = 16
    """Fetched at the same time by this node; their tasks take no worker's place meanwhile."""
    bytes_max: int = 5 * 1024**3
    """All such files of a task together."""
    seconds_max: Seconds = 600.0
    """One file, its tries and the pauses between them included."""
    tries_max: int = 3
    pause_seconds: Seconds = 1.0
    """Before the second try; each later pause is twice as long."""


class Uploading(Record, frozen=True, kw_only=True):
    """How much is spent on bringing a result to where its client wants it."""

    seconds_max: Seconds = 600.0
    """One try."""
    tries_max: int = 5
    pause_seconds: Seconds = 1.0
    """Before the second try; each later pause is four times as long."""
    pause_seconds_max: Seconds = 60.0


class Lending(Record, frozen=True, kw_only=True):
    """What attempts may take that run elsewhere."""

    timeout_seconds: Seconds | None = 3600.0
    """Of a job that does not say its own."""
    result_bytes_max: int = 2**30
    log_bytes_max: int = 256 * 1024
    """Of an attempt whose job does not say its own."""
    json_inline_bytes_max: int = 64 * 1024
    """JSON beyond this is kept as a file."""
    public_url: str = ""
    """Where workers elsewhere reach this server, when they are told by messages."""


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Handed to every agent; nothing here is owned by one of them."""

    node: str
    version: str
    """Of the program, for people."""
    catalog: Catalog
    store: TaskStore
    queues: QueueStore
    files: FileStore
    deliveries: DeliveryStore
    nodes: NodeStore
    history: HistoryStore
    schedules: ScheduleStore
    blobs: Blobs
    workers: Workers
    egress: Egress
    clock: Clock
    timing: Timing
    traffic: Traffic
    hub: Hub
    ringer: Ringer
    stats: Stats
    chance: Callable[[], float]
    """A number in [0, 1) that spreads retries."""
    fetching: Fetching = Fetching()
    uploading: Uploading = Uploading()
    blob_links: BlobLinks | None = None
    """None: clients cannot reach the blobs by themselves."""
    previews: Previews | None = None
    """None: what draws them is not installed."""
    serves: bool = True
    """It answers HTTP; False: it only works for nodes that do."""
    files_at: str = ""
    """Which files `blobs` are, if other nodes must have the same."""
    broker: Broker | None = None
    """None: this node alone runs what it accepts, and knows without being told."""
    work_queue: WorkQueue | None = None
    """None: workers elsewhere ask for their tasks."""
    lending: Lending = Lending()
    request_jobs: frozenset[str] = frozenset()
    """Jobs whose input is a request and whose result is the whole response to it."""
    tracer: Tracer | None = None
    """None: traces only pass through."""
    traces: Traces = field(init=False)
    secret: bytes = field(default_factory=new_secret, repr=False)
    """Signs leases. One that is given outlives this process, and is every node's."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "traces", Traces(self.tracer, self.clock))

    def ends_by(self, task: Task) -> Seconds | None:
        """Return when an attempt that runs elsewhere has had its time."""
        job = self.catalog.jobs.get(task.job)
        own = None if job is None else job.timeout_seconds
        seconds = self.lending.timeout_seconds if own is None else own
        return None if seconds is None or task.started_at is None else task.started_at + seconds


async def count_queues(parts: Parts) -> None:
    """Count in the store what the queues hold."""
    since = parts.traffic.moves() if parts.ringer.alone else None
    parts.traffic.sync(await parts.store.depths(), since=since)


def count_claimed(parts: Parts, task: Task, now: Seconds, *, here: bool = True) -> None:
    """Count a task that was claimed, and tell who watches it."""
    parts.traffic.claimed(task)
    parts.stats.attempts[task.job] += 1
    parts.stats.wait_seconds[task.job].add(max(0.0, now - (task.run_at or now)))
    parts.traces.claimed(task, now, here=here)
    parts.hub.publish(task.id)


def count_left(parts: Parts, change: Change) -> None:
    """Count a task that left its queue for good."""
    before, after = change.before, change.after
    if before.status in (Status.QUEUED, Status.RUNNING):
        parts.traffic.left(before)
    parts.stats.finished[after.job, after.status, after.reason or ""] += 1
