"""What a node promises, per store: what a 202 means, when work comes back, in which order it runs."""

from offload.core.task import Record, Seconds


class Backend(Record, frozen=True, kw_only=True):
    """One kind of store, and what is true with it."""

    store: str
    durability: str
    accepted: str
    """What a 202 means."""
    recovery: str
    """When the tasks of a node that died run again."""
    nodes: str


BACKENDS = (
    Backend(
        store="sqlite", durability="full",
        accepted="the disk has confirmed the task (SQLite in WAL mode, synchronous=FULL): it survives a power cut",
        recovery="at the next start of the one node: at once",
        nodes="one process owns the file",
    ),
    Backend(
        store="sqlite", durability="relaxed",
        accepted="the task survives a crash of the process; a power cut may take the last seconds",
        recovery="at the next start of the one node: at once",
        nodes="one process owns the file",
    ),
    Backend(
        store="postgresql", durability="full",
        accepted="the database has committed it with synchronous_commit=on: it survives a power cut there",
        recovery="when the lease of the dead node has ended and the next sweep has passed",
        nodes="any number",
    ),
    Backend(
        store="postgresql", durability="relaxed",
        accepted="the database has the task: it survives a crash of the node; one of its own may take the last second",
        recovery="when the lease of the dead node has ended and the next sweep has passed",
        nodes="any number",
    ),
    Backend(
        store="memory", durability="none",
        accepted="the task is in memory: for tests only",
        recovery="never: a stop forgets everything",
        nodes="one process",
    ),
)  # fmt: skip


class Carrier(Record, frozen=True, kw_only=True):
    """One kind of broker, and what becomes of tasks when it misbehaves."""

    broker: str
    carries: str
    lost: str
    """What is lost with its messages."""
    latency: str


LATENCY = "a task starts as soon as a node hears of it; without the broker, at the next look, every `sweep_seconds`"
HINT = "nothing: its tokens are hints, and what there is to do stands in the store"
BROKERS = (
    Carrier(
        broker="native", carries="nothing: nodes of one store hear of each other through the store itself",
        lost="nothing", latency="a task starts as soon as there is a free place; on another node within milliseconds",
    ),
    Carrier(
        broker="rabbitmq", carries="a token for each ready task, in a quorum queue with publisher confirms",
        lost=HINT, latency=LATENCY,
    ),
    Carrier(
        broker="redis", carries="a token for each ready task, in a stream with a consumer group", lost=HINT,
        latency=LATENCY,
    ),
    Carrier(broker="sqs", carries="a token for each ready task", lost=HINT, latency=LATENCY),
)  # fmt: skip


class Files(Record, frozen=True, kw_only=True):
    """One kind of place for files, and when a file counts as kept."""

    blobs: str
    kept: str
    shared: str


FILES = (
    Files(
        blobs="file", kept="its bytes and its name in the directory are synced before the task's row is written",
        shared="by nodes that see the same directory",
    ),
    Files(
        blobs="s3, gs, az", kept="the store has confirmed the whole object before the task's row is written",
        shared="by every node",
    ),
)  # fmt: skip

OUTCOME = (
    "Every accepted task gets exactly one recorded outcome. Its code runs at least once after a crash, and at most "
    "once with max_attempts=1."
)
ORDER = (
    "Within a queue by priority, first come first served within one; a task that has waited 60 s longer overtakes a "
    "priority one higher. Tasks of one queue run side by side, so they may end in another order."
)
DELIVERY = (
    "A callback is recorded in the same commit as the state it tells of, and sent at least once, always under the same "
    "webhook-id."
)


class Promises(Record, frozen=True, kw_only=True):
    """What this node promises, with its own figures."""

    store: str
    durability: str
    broker: str = "none"
    blobs: str = "local"
    accepted: str
    recovery_seconds_max: Seconds
    outcome: str = OUTCOME
    order: str = ORDER
    delivery: str = DELIVERY
    limits: dict[str, float] = {}
    """Bytes, counts and seconds, as their names say."""
    retention: dict[str, Seconds] = {}


def tables() -> dict[str, tuple[Record, ...]]:
    """Return what is true with each store, broker and place for files, whichever this node uses."""
    return {"stores": BACKENDS, "brokers": BROKERS, "files": FILES}


def accepted_with(store: str, durability: str) -> str:
    """Return what a 202 means with a store."""
    for backend in BACKENDS:
        if (backend.store, backend.durability) == (store, durability):
            return backend.accepted
    return f"{store}, a store that does not come with offload, has said that it keeps the task"
