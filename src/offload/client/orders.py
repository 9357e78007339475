"""What users hand to a client, brought into the form that its core takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import IO, Any

from offload.client.calls import Order
from offload.client.inputs import Attachment, as_attachment
from offload.client.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """One task of a batch."""

    job: str
    input: Mapping[str, Any] = field(default_factory=dict)
    options: Options | None = None


def as_order(
    job: str, input: Mapping[str, Any] | None, parameters: Mapping[str, Any], options: Options | None
) -> Order:
    """Return an order; parameters given by name and in a mapping are one input."""
    whole = {**(input or {}), **parameters}
    if not job:
        raise ValueError("the name of a job is empty")
    return Order(job=job, input=whole, options=options or {})


def as_file(file: "str | PathLike[str] | bytes | IO[bytes]", name: str | None) -> Attachment:
    """Return what to upload; here a str is a path."""
    found = as_attachment(Path(file) if isinstance(file, str) else file, name)
    if found is None:
        raise TypeError(f"{type(file).__qualname__} is no file: give a path, bytes or an open binary file")
    return found


def find_query(
    job: str | None,
    queue: str | None,
    status: str | None,
    tags: Mapping[str, str] | None,
    *,
    created_after: datetime | None,
    created_before: datetime | None,
) -> dict[str, str]:
    """Return the query of a search for tasks."""
    times = {"created_after": created_after, "created_before": created_before}
    given = {"job": job, "queue": queue, "status": status, **{name: at and _zoned(at) for name, at in times.items()}}
    query = {name: text for name, text in given.items() if text}
    return {**query, **{f"tag.{key}": value for key, value in (tags or {}).items()}, "limit": "100"}


def _zoned(at: datetime) -> str:
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no zone; use datetime.now(timezone.utc) or .astimezone()")
    return at.isoformat()
