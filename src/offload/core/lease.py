"""A lease: one attempt lent to a worker that is not ours, and the signed texts that stand for it."""

import base64
import hmac
import re
from enum import StrEnum

from offload.core.errors import OffloadError, TaskConflict
from offload.core.task import Record, Task

PREFIX = "lease:"
"""Begins the `node` of an attempt that is lent, in place of a node's name."""
SECRET_BYTES = 32

_BODY = re.compile(r"([0-9A-Za-z-]{1,64})\.([0-9]{1,9})\.([0-9a-f]{16})", re.ASCII)


class LeaseDoesNotExist(OffloadError):
    """Nobody was ever given this lease, or it is somebody else's."""

    code = "LeaseDoesNotExist"

    def __init__(self, given: str) -> None:
        super().__init__(f"there is no lease {given[:200]!r}")


class LeaseLost(TaskConflict):
    """The lease ended: its task may be somebody else's by now, and nothing that its worker says counts any more."""

    code = "LeaseLost"

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(f"attempt {attempt} of task {task_id} is not yours any more; drop it", task=task_id)


class Use(StrEnum):
    """What a signed text is good for: each kind is refused in the place of another."""

    HOLD = "hold"
    """Heartbeats, and telling how the attempt ended."""
    READ = "read"
    """Its input files."""
    WRITE = "write"
    """Its result's file."""


class Lease(Record, frozen=True, kw_only=True):
    """Which attempt of which task, and under which name; whether it still holds, only the task's row knows."""

    task_id: str
    attempt: int
    node: str

    def held(self, task: Task) -> bool:
        """Tell whether the task is still in this attempt, under this lease."""
        return task.attempt == self.attempt and task.node == self.node


def node_of(nonce: bytes) -> str:
    """Return the name that a claim for leases holds its tasks under: no two claims have the same."""
    assert len(nonce) == 8
    return PREFIX + nonce.hex()


def is_lent(task: Task) -> bool:
    """Tell whether the newest attempt of a task runs elsewhere, or did."""
    return task.node is not None and task.node.startswith(PREFIX)


def lease_of(task: Task) -> Lease:
    """Return the lease of a task that was claimed to be lent."""
    assert task.node is not None and is_lent(task)
    return Lease(task_id=task.id, attempt=task.attempt, node=task.node)


def ticket_of(secret: bytes, task: Task) -> Lease:
    """Return the lease of a QUEUED task's next attempt that is told before it is claimed: its first use begins it.

    It is the same whenever it is told, so that a message may be sent again.
    """
    attempt = task.attempt + 1
    return Lease(task_id=task.id, attempt=attempt, node=node_of(derived(secret, f"ticket\n{task.id}.{attempt}")[:8]))


def signed(secret: bytes, use: Use, lease: Lease) -> str:
    """Return the text that gives whoever has it this use of a lease."""
    body = f"{lease.task_id}.{lease.attempt}.{lease.node.removeprefix(PREFIX)}"
    return f"{body}.{_mac(secret, use, body)}"


def read(secret: bytes, use: Use, text: str) -> Lease | None:
    """Return the lease that a text stands for; None when it was not signed for this use."""
    body, _, mac = text.rpartition(".")
    right = hmac.compare_digest(_mac(secret, use, body).encode(), mac.encode())
    found = _BODY.fullmatch(body)
    if not right or found is None:
        return None
    return Lease(task_id=found[1], attempt=int(found[2]), node=PREFIX + found[3])


def derived(secret: bytes, purpose: str) -> bytes:
    """Return a secret for one purpose alone."""
    return hmac.digest(secret, purpose.encode(), "sha256")


def _mac(secret: bytes, use: Use, body: str) -> str:
    said = f"{use}\n{body}".encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(hmac.digest(secret, said, "sha256")).decode().rstrip("=")
