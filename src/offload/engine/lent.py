"""What a worker elsewhere is told of the task that it gets: one message, however it travels."""

from typing import Any
from urllib.parse import quote

import msgspec

from offload.core.lease import Use, lease_of, signed
from offload.core.places import put
from offload.core.task import Seconds, Task
from offload.core.times import rfc3339


class Lent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields in the order in which people read them; every URL is a path of ours, good while the lease is held."""

    lease: str
    task: str
    job: str
    attempt: int
    input: Any
    """As JSON, with name, type, size and URL in the place of each file."""
    download_from: dict[str, str]
    upload_to: str
    expires_at: str
    heartbeat_seconds: Seconds
    traceparent: str = ""
    """Left out when the task belongs to no trace."""


def lent(task: Task, secret: bytes, *, prefix: str, heartbeat_seconds: Seconds) -> Lent:
    """Return the message for a task that was claimed to be lent; our routes are below `prefix`."""
    assert task.lease_until is not None
    lease = lease_of(task)
    own = f"{prefix}/v1/leases"
    reading = f"{own}/{signed(secret, Use.READ, lease)}"
    urls = {file.field: f"{reading}/input/{quote(file.field, safe='')}" for file in task.files}
    body = msgspec.json.decode(task.input)
    for file in task.files:
        put(body, file.field, {"name": file.name, "type": file.type, "size": file.size, "url": urls[file.field]})
    return Lent(
        lease=signed(secret, Use.HOLD, lease),
        task=task.id,
        job=task.job,
        attempt=task.attempt,
        input=body,
        download_from=urls,
        upload_to=f"{own}/{signed(secret, Use.WRITE, lease)}/result",
        expires_at=rfc3339(task.lease_until),
        heartbeat_seconds=heartbeat_seconds,
        traceparent=task.traceparent,
    )
