"""The bounds of the HTTP front."""

from offload.core.promises import Promises, accepted_with
from offload.core.task import Record, Seconds


class HttpConfig(Record, frozen=True, kw_only=True):
    """What one request may take, and which names the server answers to."""

    json_bytes_max: int = 1024**2
    redirect_min_bytes: int | None = None
    """Files of this size and more are read from the blob store itself; None: all come through this server."""
    blob_link_seconds: Seconds = 300.0
    """How long a link into the blob store works."""
    upload_bytes_max: int = 5 * 1024**3
    batch_bytes_max: int = 8 * 1024**2
    batch_max: int = 1000
    files_per_task_max: int = 100
    wait_seconds_max: Seconds = 60
    result_inline_bytes_max: int = 64 * 1024
    queue_full_status: int = 503
    """503, or 429 behind proxies that punish 5xx."""
    hosts: tuple[str, ...] = ()
    """Host names beside the loopback ones, without a port."""
    metrics_open: bool = False
    """Whether /metrics is for everybody once there are keys."""
    header_bytes_max: int = 16 * 1024
    header_count_max: int = 100
    url_bytes_max: int = 8 * 1024
    connections_max: int = 10_000
    connections_per_address_max: int = 5_000
    """Connections that one IPv4 address, or one /64 of IPv6 ones, may have open."""
    streams_max: int = 5_000
    """Event streams open at once."""
    streams_per_client_max: int = 2_500
    """Event streams that one key, or without keys one address, may have open."""
    header_seconds_max: Seconds = 10.0
    """How long a request's header may take to arrive."""
    body_bytes_per_second_min: int = 1024
    """A body that arrives more slowly, once it had ten seconds, is cut off."""
    adds_date: bool = True
    """False: answers bring their own Date."""
    promises: Promises = Promises(
        store="memory", durability="none", accepted=accepted_with("memory", "none"), recovery_seconds_max=0.0
    )
    """What is told to those who ask what they may rely on."""
    prefix: str = ""
    """The path below which the routes are, as clients see it."""
    request_jobs: frozenset[str] = frozenset()
    """Jobs whose input is a request and whose result is the whole response to it."""
    read_seconds_max: Seconds = 60.0
    """How long a client may leave unread what was sent to it."""
